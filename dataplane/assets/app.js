// Puts times into the browser's zone, and follows new records. Everything else works without it.
"use strict";

const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

function localise(root) {
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = `${whole.format(at)} (${zone})`;
    time.textContent = at.toDateString() === today ? clock.format(at) : `${day.format(at)}, ${clock.format(at)}`;
  }
}

// Forms with a zone tell it, so that days and typed times are the viewer's.
for (const field of document.querySelectorAll("[data-zone]")) field.value = String(-new Date().getTimezoneOffset());
for (const field of document.querySelectorAll("[data-submit]")) field.addEventListener("change", () => field.form.requestSubmit());

function follow(list) {
  const rows = list.querySelector("[data-rows]");
  const none = list.querySelector("[data-none]");
  const toggle = list.querySelector("[data-live-toggle]");
  let after = Number(list.dataset.after);
  let wait = 2000;
  let timer = 0;

  async function poll() {
    const url = new URL(list.dataset.live, location.href);
    url.searchParams.set("after", String(after));
    try {
      const answer = await fetch(url, { headers: { accept: "text/html" } });
      if (!answer.ok) throw new Error(String(answer.status));
      after = Number(answer.headers.get("x-tollgate-after") ?? after);
      const template = document.createElement("template");
      template.innerHTML = await answer.text();
      const fresh = [...template.content.children];
      localise(template.content);
      if (fresh.length > 0) {
        for (const row of fresh) row.classList.add("fresh");
        rows.prepend(...fresh);
        while (rows.children.length > 200) rows.lastElementChild.remove();
        none.hidden = true;
        const hidden = document.querySelector(".empty");
        if (hidden) location.reload();
      }
      wait = 2000;
    } catch {
      wait = Math.min(wait * 2, 30000); // the gateway restarts, or the network is away
    }
    schedule();
  }

  function schedule() {
    clearTimeout(timer);
    const on = toggle.getAttribute("aria-pressed") === "true" && !document.hidden;
    if (on) timer = setTimeout(poll, wait);
  }

  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    toggle.setAttribute("aria-pressed", String(toggle.getAttribute("aria-pressed") !== "true"));
    schedule();
  });
  document.addEventListener("visibilitychange", schedule);
  schedule();
}

localise(document);
for (const list of document.querySelectorAll("[data-live]")) follow(list);
