"use strict";
// Where a browser keeps answers, twice: what localStorage takes reaches the disk up to a minute late, so that a killed
// browser or a power cut would lose it; IndexedDB is asked to wait for the disk. The later of both counts, by the
// number of times that a record was saved: no clock has a say.
const result = request => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error);
});

class Keep {
  constructor() { this.database = null; this.records = new Map(); }
  // Read what is kept under names that begin so. A browser without IndexedDB has localStorage alone.
  static async open(start) {
    const keep = new Keep();
    const read = async () => {
      const asked = indexedDB.open("fistula-label", 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore("records");
      const database = await result(asked), store = database.transaction("records").objectStore("records");
      const range = IDBKeyRange.bound(start, start + "\uffff");
      const [names, records] = await Promise.all([result(store.getAllKeys(range)), result(store.getAll(range))]);
      names.forEach((name, i) => keep.records.set(name, records[i]));
      keep.database = database;
    };
    await Promise.race([read().catch(() => {}), new Promise(after => setTimeout(after, 3000))]);
    return keep;
  }
  names(start) {
    let near = [];
    try { near = Object.keys(localStorage); } catch { /* a browser that keeps nothing */ }
    return [...new Set([...near, ...this.records.keys()])].filter(name => name.startsWith(start));
  }
  read(name) {
    const durable = this.records.get(name);
    let near = null;
    try { near = JSON.parse(localStorage.getItem(name)); } catch { /* it keeps nothing, or what it kept is damaged */ }
    return durable && durable.saves > (near?.saves ?? 0) ? structuredClone(durable) : near;
  }
  // Gives whether it is kept, once that is known.
  async write(name, record) {
    let isNear = true;
    try { localStorage.setItem(name, JSON.stringify(record)); } catch { isNear = false; }
    this.records.set(name, structuredClone(record));
    if (!this.database) return isNear;
    try {
      const work = this.database.transaction("records", "readwrite", { durability: "strict" });
      work.objectStore("records").put(record, name);
      await new Promise((resolve, reject) => { work.oncomplete = resolve; work.onabort = work.onerror = () => reject(work.error); });
      return true;
    } catch { return isNear; }
  }
}
