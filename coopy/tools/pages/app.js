// What the pages of the inspector do without being loaded anew. Every link and form works without it.
"use strict";
(() => {
  const one = (which, within = document) => within.querySelector(which);
  const all = (which, within = document) => [...within.querySelectorAll(which)];
  const page = document.body.dataset.page;
  const said = one("#said");
  let saying = 0;

  function say(text) {
    said.textContent = text;
    clearTimeout(saying);
    saying = setTimeout(() => { said.textContent = ""; }, 2500);
  }

  // Parts of pages come from here alone, as HTML in which every value is escaped.
  async function part(address) {
    const url = new URL(address, location.href);
    url.searchParams.set("part", "1");
    const answer = await fetch(url, { headers: { accept: "text/html" } });
    return { ok: answer.ok, waits: answer.status === 503, text: await answer.text() };
  }

  // -- dark or light

  const theme = one("#theme");
  const kept = (() => { try { return localStorage.getItem("coopy-theme"); } catch { return null; } })();
  if (kept) document.documentElement.dataset.theme = kept;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try { localStorage.setItem("coopy-theme", next); } catch { /* It is for this page, then. */ }
  });
  const help = one("#help");
  one("#keys").hidden = false;
  one("#keys").addEventListener("click", () => help.showModal());

  // -- how far the replays are

  const progress = one("#progress");
  let wasBusy = false, grows = null;
  async function look() {
    try {
      const status = await (await fetch("/status.json")).json();
      const busy = (status.lanes || []).filter((each) => !each.ready);
      if (busy.length) {
        wasBusy = true;
        const lane = busy[0];
        const upto = lane.upto === null ? status.last : lane.upto;
        progress.textContent = `replaying: ${Math.floor(100 * (lane.done - lane.base) / Math.max(upto - lane.base, 1))} %`;
      }
      progress.hidden = !busy.length;
      if (one(".problem.waits")) location.reload();
      else if (!status.ready) setTimeout(look, 1000);
      else if (wasBusy) progress.textContent = "";
      if (status.ready && grows) { grows(status.last); setTimeout(look, document.hidden ? 20000 : 3000); }
    } catch { /* The inspector was stopped. */ }
  }
  look();

  // -- copy

  function copies(within) {
    for (const button of all("button.copy", within)) button.hidden = !navigator.clipboard;
  }
  async function copy(path) {
    try {
      await navigator.clipboard.writeText(path);
      say(`copied: ${path.length > 60 ? path.slice(0, 60) + "…" : path}`);
    } catch { say("the browser does not let it be copied"); }
  }
  copies(document);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button.dataset.path);
  });

  // -- the state: the slider and the tree

  if (one("#slider")) state();

  function state() {
    const slider = one("#slider"), number = one("#at"), place = one("#part"), scale = one("#scale");
    const oldest = Number(slider.min);
    const begins = Math.floor(Number(slider.dataset.begins) / 1e6), ends = Math.ceil(Number(slider.dataset.ends) / 1e6);
    let last = Number(slider.max);
    let at = Number(slider.value);
    let shown = new URL(location.href);
    let running = false, wanted = null;
    scale.disabled = !(ends > begins);
    // What is written meanwhile can be gone to. What is shown stays as it is.
    grows = (newest) => {
      last = Math.max(last, newest);
      if (!scale.checked && Number(slider.max) < last) { slider.max = last; slider.value = at; }
      one("#now").textContent = `now, ${last.toLocaleString("en")}`;
    };

    function address(change) {
      const url = new URL(shown);
      for (const [name, text] of Object.entries(change)) {
        if (text === null || text === "") url.searchParams.delete(name);
        else url.searchParams.set(name, text);
      }
      return url;
    }
    // Whoever drags wants the newest place: those in between are left out while one is on its way.
    async function show(url, focus) {
      wanted = { url, focus };
      if (running) return;
      running = true;
      while (wanted) {
        const { url: next, focus: path } = wanted;
        wanted = null;
        let got;
        try { got = await part(next); } catch { say("the inspector does not answer"); break; }
        if (got.waits) {
          if (!wanted) {
            place.innerHTML = got.text;
            await new Promise((wake) => setTimeout(wake, 500));
            wanted = wanted || { url: next, focus: path };
          }
          continue;
        }
        place.innerHTML = got.text;
        copies(place);
        shown = next;
        const after = one(".after", place);
        if (after) {
          at = Number(after.dataset.index);
          number.value = at;
          last = Math.max(last, at);
          if (!scale.checked && document.activeElement !== slider) slider.value = at;
          if (next.searchParams.has("when")) { next.searchParams.delete("when"); next.searchParams.set("at", at); }
        }
        history.replaceState(null, "", next);
        for (const each of all('input[name="at"]')) if (each !== number) each.value = at;
        if (path !== undefined) {
          const line = all(".line", place).find((each) => each.dataset.path === path) || one(".line", place);
          if (line) rove(line);
        }
      }
      running = false;
    }
    function go(index, focus) {
      index = Math.min(Math.max(index, oldest), last);
      if (index !== at || wanted) show(address({ at: index, vs: at, when: null }), focus);
    }
    slider.addEventListener("input", () => {
      if (scale.checked) show(address({ when: slider.value, at: null, vs: at }));
      else go(Number(slider.value));
    });
    scale.addEventListener("change", async () => {
      if (scale.checked) {
        slider.min = begins; slider.max = ends;
        const time = one(".after", place).dataset.time;
        slider.value = time ? Date.parse(time) : begins;
      } else {
        slider.min = oldest; slider.max = last; slider.value = at;
      }
    });
    one("#before").addEventListener("click", () => go(at - 1));
    one("#after").addEventListener("click", () => go(at + 1));
    one("#when").addEventListener("submit", (event) => {
      event.preventDefault();
      if (/^[0-9]+$/.test(number.value)) { go(Number(number.value)); slider.value = number.value; }
    });
    document.addEventListener("keydown", (event) => {
      if (event.target.closest("input:not([type=range]), textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
      const focused = document.activeElement.closest(".line");
      const path = focused ? focused.dataset.path : undefined;
      if (event.key === ",") go(at - 1, path);
      else if (event.key === ".") go(at + 1, path);
      else return;
      event.preventDefault();
    });

    // One line of the tree takes part in the order of Tab; the arrows go from line to line.
    function rove(line) {
      for (const each of all(".line", place)) each.tabIndex = -1;
      line.tabIndex = 0;
      line.focus();
    }
    function toggle(line) {
      const link = one("a.toggle", line);
      if (link) show(new URL(link.href), line.dataset.path);
    }
    place.addEventListener("click", (event) => {
      const link = event.target.closest("a.toggle");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      toggle(link.closest(".line"));
    });
    place.addEventListener("keydown", (event) => {
      const line = event.target.closest(".line");
      if (!line || event.target !== line || event.ctrlKey || event.metaKey || event.altKey) return;
      const lines = all(".line", place), number = lines.indexOf(line), open = line.getAttribute("aria-expanded");
      const level = Number(line.getAttribute("aria-level"));
      if (event.key === "ArrowDown") { if (lines[number + 1]) rove(lines[number + 1]); }
      else if (event.key === "ArrowUp") { if (number) rove(lines[number - 1]); }
      else if (event.key === "Home") rove(lines[0]);
      else if (event.key === "End") rove(lines[lines.length - 1]);
      else if (event.key === "ArrowRight") {
        if (open === "false") toggle(line);
        else if (open === "true" && lines[number + 1]) rove(lines[number + 1]);
      } else if (event.key === "ArrowLeft") {
        if (open === "true") toggle(line);
        else {
          const above = lines.slice(0, number).reverse().find((each) => Number(each.getAttribute("aria-level")) < level);
          if (above) rove(above);
        }
      } else if (event.key === "Enter") {
        const link = one("a.who", line) || one("a", line);
        if (link) location.href = link.href;
      } else if (event.key === "c" && line.dataset.path) copy(line.dataset.path);
      else return;
      event.preventDefault();
    });
  }

  // -- the journal: what is written is shown as it comes

  const live = one("#live");
  if (live) {
    const rows = one("#rows"), form = one("#filter");
    let timer = 0;
    live.hidden = false;
    async function news() {
      const url = new URL("/journal", location.href);
      for (const [name, text] of new FormData(form)) if (text && name !== "until") url.searchParams.set(name, text);
      url.searchParams.set("after", rows.dataset.last);
      try {
        const got = await part(url);
        if (got.ok && got.text.trim()) {
          const made = document.createElement("tbody");
          made.innerHTML = got.text;
          for (const row of all("tr", made)) {
            row.classList.add("new-row");
            rows.prepend(row);
            rows.dataset.last = row.dataset.index;
            setTimeout(() => row.classList.remove("new-row"), 3000);
          }
          while (rows.children.length > 500) rows.lastElementChild.remove();  // With what leads further back, which is in the address, too.
        }
      } catch { /* It is asked again. */ }
      if (live.getAttribute("aria-pressed") === "true") timer = setTimeout(news, document.hidden ? 5000 : 1000);
    }
    function follow(on) {
      live.setAttribute("aria-pressed", on ? "true" : "false");
      clearTimeout(timer);
      if (on) news();
    }
    live.addEventListener("click", () => follow(live.getAttribute("aria-pressed") !== "true"));
    if (location.hash === "#live") follow(true);
  }

  // -- who set a value, and which calls have a text in them: it is looked further back by itself

  const found = one("#changes") || one("#rows");
  if (found) (async () => {
    const which = found.id === "rows" ? "a.further[data-goes-on]" : "a.further";
    let link;
    while ((link = one(which, found)) && found.children.length < (found.id === "rows" ? 100 : 500)) {
      let got;
      try { got = await part(link.href); } catch { return; }
      if (!got.ok) return;
      link.closest("tr").remove();
      found.insertAdjacentHTML("beforeend", got.text);
    }
  })();

  // -- keys of every page

  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input:not([type=range]), textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && one("#q")) { one("#q").focus(); event.preventDefault(); }
    else if (event.key === "?") { help.showModal(); event.preventDefault(); }
    else if (page === "action" && (event.key === "," || event.key === ".")) {
      const link = one(event.key === "," ? "#before" : "#after");
      if (link) location.href = link.href;
    }
  });
})();
