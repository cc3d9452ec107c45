// Files that are dropped or chosen, a folder with all below it, become one zip archive (stored: DICOM hardly packs).
// In a function of its own: the page of the answer is written into this window, and has names of its own.
(() => {
const element = id => document.getElementById(id), LIMITS = JSON.parse(element("limits").textContent);
const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xEDB88320 ^ n >>> 1 : n >>> 1;
  return n;
});
const say = text => { element("state").textContent = text; };

function crc(bytes) {
  let value = 0xFFFFFFFF;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ value >>> 8;
  return (value ^ 0xFFFFFFFF) >>> 0;
}

// Fields of an entry that its local header and its line in the directory share (APPNOTE.TXT 4.3.7, 4.3.12).
function entry(view, at, name, bytes, sum) {
  view.setUint16(at, 20, true); view.setUint16(at + 2, 0x0800, true); view.setUint16(at + 8, 0x21, true);
  view.setUint32(at + 10, sum, true); view.setUint32(at + 14, bytes.length, true); view.setUint32(at + 18, bytes.length, true);
  view.setUint16(at + 22, name.length, true);
}

async function pack(files) {
  const parts = [], directory = [];
  let at = 0;
  for (const [path, file] of files) {
    const bytes = new Uint8Array(await file.arrayBuffer()), name = new TextEncoder().encode(path), sum = crc(bytes);
    const local = new DataView(new ArrayBuffer(30)), line = new DataView(new ArrayBuffer(46));
    local.setUint32(0, 0x04034B50, true); entry(local, 4, name, bytes, sum);
    line.setUint32(0, 0x02014B50, true); line.setUint16(4, 20, true); entry(line, 6, name, bytes, sum);
    line.setUint32(42, at, true);
    parts.push(local, name, bytes); directory.push(line, name);
    at += 30 + name.length + bytes.length;
  }
  const end = new DataView(new ArrayBuffer(22)), size = directory.reduce((sum, part) => sum + part.byteLength, 0);
  end.setUint32(0, 0x06054B50, true); end.setUint16(8, files.length, true); end.setUint16(10, files.length, true);
  end.setUint32(12, size, true); end.setUint32(16, at, true);
  return new Blob([...parts, ...directory, end]);
}

// A folder is read a hundred entries at a time, until there are none.
async function below(item, path = "") {
  if (item.isFile) return [[path + item.name, await new Promise((done, failed) => item.file(done, failed))]];
  const reader = item.createReader(), found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return found;
    for (const one of some) found.push(...await below(one, `${path}${item.name}/`));
  }
}

async function score(files) {
  files = files.filter(([path]) => !path.split("/").pop().startsWith("."));
  if (!files.length) { say("Choose a file first."); return; }
  const size = files.reduce((sum, [, file]) => sum + file.size, 0) / 2 ** 20;
  if (files.length > LIMITS.files) { say(`${files.length} files: at most ${LIMITS.files} can be uploaded at once.`); return; }
  if (size > LIMITS.mb) { say(`${Math.ceil(size)} MB: at most ${LIMITS.mb} MB can be uploaded at once.`); return; }
  document.body.classList.add("busy");
  try {
    say(files.length > 1 ? `packing ${files.length} files …` : "scoring …");
    const body = files.length > 1 ? await pack(files) : files[0][1];
    say(`scoring ${files.length} file${files.length > 1 ? "s" : ""} (${size.toFixed(1)} MB) …`);
    const answer = await fetch("page", { method: "POST", body }), text = await answer.text();
    if (!answer.ok) { say(`Not scored: ${JSON.parse(text).error}.`); return; }
    document.open(); document.write(text); document.close();
    document.body.insertAdjacentHTML("afterbegin", '<p><a href="/">Score other images</a></p>');
  } catch (error) {
    say(`Not scored: the service or a file cannot be reached (${error.message}).`);
  } finally {
    document.body.classList.remove("busy");
  }
}

const chosen = input => [...input.files].map(file => [file.webkitRelativePath || file.name, file]);
element("go").onclick = () => score([...chosen(element("file")), ...chosen(element("folder"))]);
for (const id of ["file", "folder"]) element(id).onchange = () => {
  const files = chosen(element(id));
  say(files.length ? `${files.length} file${files.length > 1 ? "s" : ""} chosen.` : "");
};
const drop = element("drop");
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, event => { event.preventDefault(); drop.classList.add("over"); });
document.addEventListener("dragleave", event => { if (!event.relatedTarget) drop.classList.remove("over"); });
document.addEventListener("drop", async event => {
  event.preventDefault(); drop.classList.remove("over");
  const items = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry()).filter(Boolean);
  const found = await Promise.all(items.map(item => below(item)));
  await score(found.flat());
});
})();
