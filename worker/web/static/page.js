"use strict";
// Asks for the page anew every two seconds and swaps the regions that have changed. Without this
// script the page works as well.
const EVERY = 2000;
let tag = "";
let failures = 0;

function busy(region) {
  const selection = document.getSelection();
  const selected = !selection.isCollapsed && selection.containsNode(region, true);
  return selected || region.contains(document.activeElement);
}

// Returns false if a region stays as it was, since somebody reads or types there.
function swap(fresh) {
  let whole = true;
  document.title = fresh.title;
  for (const region of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(region.id);
    if (!next || next.outerHTML === region.outerHTML) continue;
    if (busy(region)) {
      whole = false;
    } else {
      region.className = next.className;
      region.replaceChildren(...next.childNodes);
    }
  }
  return whole;
}

function say(words, late) {
  const made = document.getElementById("made");
  made.classList.toggle("late", late);
  made.setAttribute("role", late ? "alert" : "none");
  if (made.textContent !== words) made.textContent = words;
}

async function ask() {
  if (document.hidden) return;
  let older = "";
  try {
    const answer = await fetch(location.href, {
      headers: tag ? { "If-None-Match": tag } : {},
      signal: AbortSignal.timeout(15000),
    });
    if (answer.status === 200) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const whole = swap(fresh);
      tag = (whole && answer.headers.get("ETag")) || "";
      if (!whole) older = " What you are reading or typing in is older.";
    } else if (answer.status !== 304) {
      throw new Error(await answer.text());
    }
    failures = 0;
    say(`Read at ${new Date().toISOString().slice(11, 19)} UTC, and every two seconds. All times are UTC.${older}`, false);
  } catch (problem) {
    failures += 1;
    if (failures > 1) say(`This page is old: no answer ${failures} times in a row (${problem.message}).`, true);
  }
}

async function run() {
  await ask();
  setTimeout(run, EVERY);
}

if (document.querySelector("[data-live]")) {
  setTimeout(run, EVERY);
  document.addEventListener("visibilitychange", ask);
}
