"use strict";
// While the page is seen, fetches it again every few seconds, and puts in the parts that changed.

const LEAST_MS = 3000;
const PAUSE = 10; // times as long as the answer took, so that the server is mostly left alone

const button = document.getElementById("live");
const note = document.getElementById("note");
const parts = () => document.querySelectorAll("[data-live]");
const received = new Map([...parts()].map((part) => [part.id, part.innerHTML]));
let isPaused = matchMedia("(prefers-reduced-motion: reduce)").matches;
let timer;

function isSelected(part) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(part, true);
}

function put(part, fresh) {
  const isOpen = [...part.querySelectorAll("details")].map((each) => each.open);
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  received.set(part.id, fresh.innerHTML);
  part.replaceChildren(...fresh.childNodes);
  part.querySelectorAll("details").forEach((each, i) => { each.open = isOpen[i] ?? false; });
  if (focused) {
    const same = [...part.querySelectorAll(focused.tagName)]
      .find((each) => each.textContent === focused.textContent);
    (same ?? part).focus({ preventScroll: true });
  }
}

async function look() {
  const began = performance.now();
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok || !fresh.getElementById("main")) throw new Error(`${answer.status}`);
    for (const part of parts()) {
      const next = fresh.getElementById(part.id);
      if (next && next.innerHTML !== received.get(part.id) && !isSelected(part)) put(part, next);
    }
    note.textContent = "";
  } catch (error) {
    note.textContent ||= `No answer since ${new Date().toLocaleTimeString()}: ${error.message}`;
  }
  plan(Math.max(LEAST_MS, PAUSE * (performance.now() - began)));
}

function plan(delay) {
  clearTimeout(timer);
  button.textContent = isPaused ? "Go live" : "Pause";
  if (!isPaused && !document.hidden) timer = setTimeout(look, delay);
}

if (received.size) {
  button.hidden = false;
  button.addEventListener("click", () => { isPaused = !isPaused; plan(0); });
  document.addEventListener("visibilitychange", () => plan(0));
  plan(LEAST_MS);
}
