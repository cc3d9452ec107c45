"use strict";
// Suspicion from 0 to 100, and what a reader who reads with AI is shown of it.
const isDial = facts => facts.question === "score" && facts.top === 100;

function dial(facts, set) {
  const element = document.createElement("div");
  element.className = "dial";
  element.innerHTML = '<output>–</output><input type="range" min="0" max="100" step="1" aria-label="suspicion, 0 to 100"><p><span></span><span></span></p>';
  const slider = element.querySelector("input");
  element.querySelector("p span").textContent = "0 " + facts.classes[0];
  element.querySelector("p span:last-child").textContent = facts.classes[1] + " 100";
  slider.addEventListener("input", () => turnDial(element, Number(slider.value)));
  // One drag is one answer, which one undo takes back; keys go on scrolling.
  slider.addEventListener("change", () => { set(Number(slider.value)); slider.blur(); });
  return element;
}
function turnDial(element, score) {
  element.classList.toggle("unset", score === null);
  element.querySelector("output").textContent = score ?? "–";
  element.querySelector("input").value = score ?? 50;
}
// Digits typed one after the other make one number; a pause, or what would go beyond 100, begins another.
const typed = { text: "", at: 0 };
function typeDigit(digit, now) {
  typed.text = now - typed.at < 1500 && Number(typed.text + digit) <= 100 ? typed.text + digit : String(digit);
  typed.at = now;
  return Number(typed.text);
}
// What the AI says of a patient, in words; its places are drawn on the slices.
function aidWords(aid, series) {
  const number = new Map(series.flatMap(one => one.slices).map((slice, i) => [slice.key, slice.number ?? i + 1]));
  const places = Object.entries(aid.slices).filter(([key, one]) => one.row !== undefined && number.has(key)).map(([key]) => number.get(key));
  return `AI: ${aid.score} of 100 (threshold, ${aid.threshold}): ${aid.answer}` + (places.length ? `; location${places.length > 1 ? "s on images" : " on image"} ${places.join(", ")}` : "");
}
