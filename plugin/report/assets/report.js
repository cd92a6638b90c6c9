"use strict";
(function () {
  const make = (tag, text, name) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const button = (text, act) => {
    const made = make("button", text);
    made.type = "button";
    made.addEventListener("click", act);
    return made;
  };
  // SVG that this page's own program drew; it holds no script, and the policy would run none
  const draw = (place, svg) => {
    const parsed = new DOMParser().parseFromString(svg, "text/html").querySelector("svg");
    if (parsed) place.append(document.importNode(parsed, true));
  };
  const save = (name, text, type) => {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  async function cardsOf(node) {
    const bytes = Uint8Array.from(atob(node.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  // Coordinates are whole thousandths of an A, all atoms of a conformer after each other
  const place = (card, k) => {
    const n = card.e.length;
    return Array.from({ length: n }, (_, i) => [0, 1, 2].map((a) => card.c[(k * n + i) * 3 + a] / 1000));
  };
  function atomsOf(card, k) {
    const atoms = place(card, k).map(([x, y, z], i) => ({
      elem: card.e[i], x, y, z, index: i, serial: i, bonds: [], bondOrder: [],
    }));
    for (const [i, j, order] of card.b) {
      atoms[i].bonds.push(j); atoms[i].bondOrder.push(order);
      atoms[j].bonds.push(i); atoms[j].bondOrder.push(order);
    }
    return atoms;
  }
  function record(card, k) {
    const xyz = place(card, k);
    let atom = 0;
    const lines = card.k.split("\n").map((line, row) => {
      if (row < 4) return row === 0 ? card.r : line;
      const long = line.match(/^(M {2}V30 \d+ \S+) \S+ \S+ \S+( \d+.*)$/);
      if (!card.l3 && atom < xyz.length) {
        const text = xyz[atom++].map((v) => v.toFixed(4).padStart(10)).join("");
        return text + line.slice(30);
      }
      if (card.l3 && long && atom < xyz.length) {
        return long[1] + " " + xyz[atom++].map((v) => v.toFixed(4)).join(" ") + long[2];
      }
      return line;
    });
    const fields = Object.entries(card.d).map(([name, texts]) => `>  <${name}>\n${texts[k]}\n\n`);
    return lines.join("\n").replace(/\n*$/, "\n") + fields.join("") + "$$$$\n";
  }
  const count = (card) => card.c.length / (3 * card.e.length);
  const sdf = (card) => Array.from({ length: count(card) }, (_, k) => record(card, k)).join("");

  function viewer(place, card, tools) {
    let stage = null;
    try {
      stage = $3Dmol.createViewer(place, { backgroundColor: "white", antialias: true });
    } catch (error) { stage = null; }
    if (!stage) {
      place.textContent = "This browser draws no WebGL, so there is no 3D view.";
      return () => undefined;
    }
    const n = count(card), frames = card.m === "frames";
    let now = 0, playing = 0, fresh = true;
    const label = make("span"), slider = make("input"), over = make("input");
    const hydrogens = make("input");
    const style = (model, alpha) => {
      model.setStyle({}, { stick: { radius: alpha < 1 ? 0.06 : 0.14, opacity: alpha } });
      if (!hydrogens.checked) model.setStyle({ elem: "H" }, {});
    };
    const show = () => {
      stage.removeAllModels();
      if (over.checked) {
        for (let k = 0; k < Math.min(n, 60); k++) {
          if (k === now) continue;
          const other = stage.addModel(); other.addAtoms(atomsOf(card, k)); style(other, 0.6);
        }
      }
      const model = stage.addModel(); model.addAtoms(atomsOf(card, now)); style(model, 1);
      if (fresh) { stage.zoomTo(); fresh = false; }
      stage.render();
      label.textContent = card.p[now];
      slider.value = now;
    };
    slider.type = "range"; slider.min = 0; slider.max = n - 1; slider.value = 0;
    slider.setAttribute("aria-label", frames ? "frame" : "conformer");
    slider.addEventListener("input", () => { now = Number(slider.value); show(); });
    for (const [box, text, on] of [[over, "overlay all", !frames && n > 1], [hydrogens, "hydrogens", true]]) {
      box.type = "checkbox"; box.checked = on;
      box.addEventListener("change", show);
      const named = make("label"); named.append(box, " " + text); tools.append(named);
    }
    if (n > 1) {
      const step = (by) => { now = (now + by + n) % n; show(); };
      const play = button(frames ? "play" : "step through", () => {
        if (playing) { clearInterval(playing); playing = 0; play.textContent = frames ? "play" : "step through"; return; }
        play.textContent = "stop";
        playing = setInterval(() => step(1), frames ? 80 : 700);
      });
      tools.append(button("<", () => step(-1)), slider, button(">", () => step(1)), play);
    }
    tools.append(label);
    show();
    place.dataset.drawn = "yes";
    return () => { clearInterval(playing); };
  }

  function molecules(root) {
    const chunks = [...root.querySelectorAll("script.chunk")];
    const total = Number(root.dataset.cards), grid = root.querySelector(".grid");
    const pager = root.querySelector(".pager"), detail = root.querySelector(".detail");
    let page = 0, leave = () => undefined;
    if (total === 1) root.classList.add("one");
    const name = (card) => card.t || card.s || "molecule";

    function open(card, pressed) {
      leave();
      detail.replaceChildren();
      grid.querySelectorAll(".card").forEach((one) => one.setAttribute("aria-pressed", String(one === pressed)));
      const tools = make("div", undefined, "controls"), stage = make("div", undefined, "stage");
      const view = make("div", undefined, "view"), sketch = make("div", undefined, "sketch");
      detail.append(make("h3", name(card)), tools, stage);
      stage.append(view, sketch);
      draw(sketch, card.v);
      if (card.s) sketch.append(make("code", card.s));
      for (const line of card.l) sketch.append(make("div", line));
      const figures = make("div", undefined, "figures");
      for (const [svg, caption, wide] of card.f) {
        const figure = make("figure", undefined, wide ? "wide" : ""); draw(figure, svg);
        figure.append(make("figcaption", caption)); figures.append(figure);
      }
      detail.append(figures);
      leave = viewer(view, card, tools);
      const file = (name(card).replace(/[^\w.-]+/g, "_").slice(0, 60) || "molecule") + ".sdf";
      tools.append(button("SDF", () => save(file, sdf(card), "chemical/x-mdl-sdfile")));
    }
    async function turn(to) {
      page = to;
      const cards = await cardsOf(chunks[page]);
      grid.replaceChildren();
      let first = null;
      for (const card of cards) {
        const one = button("", () => open(card, one));
        one.className = "card";
        draw(one, card.v);
        one.append(make("b", name(card)));
        for (const line of card.l) one.append(make("span", line));
        grid.append(one);
        first = first || one;
      }
      if (cards.length) open(cards[0], first);
      box.value = page + 1;
      where.textContent = `page ${page + 1} of ${chunks.length}, ${total} molecules`;
      root.dataset.ready = String(page);
    }
    const where = make("span"), box = make("input");
    if (chunks.length > 1) {
      const go = (by) => turn(Math.min(chunks.length - 1, Math.max(0, page + by)));
      box.type = "number"; box.min = 1; box.max = chunks.length; box.setAttribute("aria-label", "page");
      box.addEventListener("change", () => turn(Math.min(chunks.length, Math.max(1, Number(box.value) || 1)) - 1));
      pager.append(button("previous", () => go(-1)), button("next", () => go(1)), box);
    }
    if (total > 1) {
      pager.append(where, button("SDF of all", async () => {
        const texts = [];
        for (const chunk of chunks) for (const card of await cardsOf(chunk)) texts.push(sdf(card));
        save("report.sdf", texts.join(""), "chemical/x-mdl-sdfile");
      }));
    }
    // nothing is unpacked before it comes into view
    const seen = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) { seen.disconnect(); turn(0); }
    }, { rootMargin: "400px" });
    seen.observe(root);
  }
  document.querySelectorAll(".molecules").forEach(molecules);
})();
