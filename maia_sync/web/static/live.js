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
    const [said, changed, pause, link] = ["said", "changed", "pause", "link"].map((name) =>
      document.querySelector(`[data-live-${name}]`));
    const calm = matchMedia("(prefers-reduced-motion: reduce)");
    let after = timeline.dataset.after;
    let wait = QUICKEST;
    let timer = 0;
    let paused = false;
    let asking = false;
    let shown = 0;

    // An event is known by its link; an id tells a place, which some share.
    const linkOf = (element) => element.querySelector(".when").getAttribute("href");
    const find = (within, link) =>
      [...within.querySelectorAll("article.tool")].find((each) => linkOf(each) === link);

    // A result goes into its call, if that is here.
    const fold = (news, answered) => {
      for (const fresh of answered.querySelectorAll("article")) {
        const result = fresh.querySelector(".result");
        const [call, lone] = [find(timeline, linkOf(fresh)), find(news, linkOf(result))];
        if (!call || !lone) continue;
        if (call.id) fresh.id = call.id;
        if (lone.id) result.id = lone.id;
        const both = (tags) => [call, fresh].map((each) => [...each.querySelectorAll(tags)]);
        const [folds, now] = both("details");
        for (const at in folds) if (now[at]) now[at].open = folds[at].open;
        const [links, others] = both("a, summary");
        const focused = others[links.indexOf(document.activeElement)];
        const turn = lone.parentElement;
        lone.remove();
        if (!turn.matches(":has(article), [data-continued]")) turn.remove();
        fresh.classList.add("new");
        call.replaceWith(fresh);
        focused?.focus({ preventScroll: true });
      }
    };

    const add = (news, answered) => {
      const { scrollHeight } = document.documentElement;
      const follows = innerHeight + scrollY >= scrollHeight - 80;
      for (const each of news.querySelectorAll("[id]")) {
        if (document.getElementById(each.id)) each.removeAttribute("id");
      }
      fold(news, answered);
      const last = [...timeline.querySelectorAll(":scope > section.turn")].pop();
      const first = news.querySelector("section.turn");
      for (const each of news.querySelectorAll("article")) each.classList.add("new");
      if (last && first?.hasAttribute("data-continued")) {
        const [old, fresh] = [last, first].map((each) => each.querySelector(".figures"));
        if (old && fresh) old.replaceWith(fresh);
        last.append(...first.querySelectorAll(":scope > article"));
        first.remove();
      }
      timeline.append(news);
      for (const each of document.querySelectorAll("main > .empty")) each.remove();
      if (follows) {
        const top = document.documentElement.scrollHeight;
        scrollTo({ top, behavior: calm.matches ? "auto" : "smooth" });
      }
    };

    const plan = (delay) => {
      clearTimeout(timer);
      if (!paused && !document.hidden && shown < MOST_EVENTS) timer = setTimeout(look, delay);
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
          add(parse(told.html), parse(told.answered));
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
    setTimeout(async () => {
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
