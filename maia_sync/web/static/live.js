// What is new appears by itself: the events of a task, and panels whose answer was not ready.
// Without this script every page is whole; a link then shows new events.
"use strict";

(() => {
  const QUICKEST = 3000;
  const SLOWEST = 30000;
  const MOST_EVENTS = 1000;

  const ask = async (address) => {
    const answer = await fetch(address, { credentials: "same-origin", redirect: "error", cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer;
  };

  // The server has escaped whatever is foreign in it; scripts in it would not run.
  const parse = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  };

  const follow = (timeline) => {
    const find = (name) => document.querySelector(`[data-live-${name}]`);
    const said = find("said");
    const changed = find("changed");
    const pause = find("pause");
    const link = find("link");
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
    let after = timeline.dataset.after;
    let wait = QUICKEST;
    let timer = 0;
    let paused = false;
    let asking = false;
    let shown = 0;

    const isAtEnd = () =>
      window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 80;

    const add = (news) => {
      const last = [...timeline.querySelectorAll(":scope > section.turn")].pop();
      const first = news.querySelector("section.turn");
      for (const each of news.querySelectorAll("[id]")) {
        if (document.getElementById(each.id)) each.removeAttribute("id");
      }
      for (const each of news.querySelectorAll("article")) each.classList.add("new");
      const follows = isAtEnd();
      if (last && first && first.hasAttribute("data-continued")) {
        const [old, fresh] = [last, first].map((each) => each.querySelector(".figures"));
        if (old && fresh) old.replaceWith(fresh);
        last.append(...first.querySelectorAll(":scope > article"));
        first.remove();
      }
      timeline.append(news);
      for (const each of document.querySelectorAll("main > .empty")) each.remove();
      if (follows) {
        window.scrollTo({
          top: document.documentElement.scrollHeight,
          behavior: calm.matches ? "auto" : "smooth",
        });
      }
    };

    const plan = (delay) => {
      window.clearTimeout(timer);
      if (!paused && !document.hidden && shown < MOST_EVENTS) timer = window.setTimeout(look, delay);
    };

    const look = async () => {
      if (asking) return;
      asking = true;
      try {
        const told = await (await ask(timeline.dataset.news + encodeURIComponent(after))).json();
        if (paused) return; // what came is asked for again
        after = told.after;
        if (told.changed) changed.hidden = false;
        if (told.count) {
          add(parse(told.html));
          shown += told.count;
          // The sum makes it another text than before, which would not be read out.
          const events = told.count === 1 ? "1 new event" : `${told.count} new events`;
          said.textContent = `${events}, ${shown} since this page was opened`;
        }
        wait = told.count ? QUICKEST : Math.min(wait * 1.5, SLOWEST);
        link.hidden = shown < MOST_EVENTS;
        plan(told.more ? 500 : wait);
      } catch {
        wait = Math.min(wait * 2, SLOWEST);
        link.hidden = false;
        plan(wait);
      } finally {
        asking = false;
      }
    };

    pause.hidden = false;
    link.hidden = true;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.textContent = paused ? "Go on showing new events" : "Pause new events";
      wait = QUICKEST;
      plan(0);
    });
    document.addEventListener("visibilitychange", () => {
      wait = QUICKEST;
      plan(0);
    });
    plan(wait);
  };

  const refill = (element, delay) => {
    window.setTimeout(async () => {
      const next = Math.min(delay * 2, SLOWEST);
      if (document.hidden) {
        refill(element, delay);
        return;
      }
      try {
        const answer = await ask(element.dataset.fragment);
        const fresh = [...parse(await answer.text()).children];
        element.replaceWith(...fresh);
        for (const each of fresh) {
          const pending = each.matches("[data-fragment]") ? [each] : each.querySelectorAll("[data-fragment]");
          for (const one of pending) refill(one, next);
        }
      } catch {
        refill(element, next);
      }
    }, delay);
  };

  const timeline = document.querySelector("[data-news]");
  if (timeline) follow(timeline);
  for (const each of document.querySelectorAll("[data-fragment]")) refill(each, 500);
})();
