"use strict";
// While the page is seen, fetches it again every few seconds, and puts in the parts that changed.

const LEAST_MS = 3000;
const MOST_MS = 30_000; // and so soon after an outage
const PAUSE = 10; // times as long as the answer took, so that the server is mostly left alone
const GIVE_UP_MS = 60_000; // a network may lose a request without a word

const button = document.getElementById("live");
const note = document.getElementById("note");
const parts = (page) => [...page.querySelectorAll("[data-live]")];
const received = new Map(parts(document).map((part) => [part.id, part.innerHTML]));
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

function update(page) {
  for (const part of parts(document)) if (!page.getElementById(part.id)) part.remove();
  let last;
  for (const fresh of parts(page)) {
    const part = document.getElementById(fresh.id);
    if (!part) {
      received.set(fresh.id, fresh.innerHTML);
      last.after(fresh); // the first part of a page is always there
    } else if (fresh.innerHTML !== received.get(part.id) && !isSelected(part)) put(part, fresh);
    last = part ?? fresh;
  }
}

async function look() {
  const began = performance.now();
  try {
    const signal = AbortSignal.timeout(GIVE_UP_MS);
    const answer = await fetch(location.href, { cache: "no-store", signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const problem = page.querySelector(".error")?.textContent ?? `status ${answer.status}`;
    if (!answer.ok || !parts(page).length) throw new Error(problem);
    update(page);
    note.textContent = "";
  } catch (error) {
    const now = new Date().toISOString().slice(11, 19); // in UTC, as every time of the page
    note.textContent ||= `Not refreshed since ${now} UTC: ${error.message}`;
  }
  plan(Math.min(MOST_MS, Math.max(LEAST_MS, PAUSE * (performance.now() - began))));
}

function plan(delay) {
  clearTimeout(timer);
  button.textContent = isPaused ? "Go live" : "Pause";
  if (!isPaused && !document.hidden) timer = setTimeout(look, delay);
}

if (received.size && !document.getElementById("error")) { // what was refused is not asked again
  button.hidden = false;
  button.addEventListener("click", () => { isPaused = !isPaused; plan(0); });
  document.addEventListener("visibilitychange", () => plan(0));
  plan(LEAST_MS);
}
