// What the browser tests ask of the page that JupyterLab serves. Each function ends when its work has.
window.lab = {
  // The notebook's panel, its kernel answering.
  async panel(name) {
    const app = window.jupyterapp;
    await app.restored;
    const panel = [...app.shell.widgets("main")].find((widget) => widget.context?.path === name);
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    return panel;
  },

  // Run All as a reader does from the menu; the notebook with what its cells then show.
  async runAll(name) {
    const panel = await lab.panel(name);
    window.jupyterapp.shell.activateById(panel.id);
    await window.jupyterapp.commands.execute("notebook:run-all-cells");
    return panel.content.model.toJSON();
  },

  // What the kernel prints for this code.
  async ask(name, code) {
    const { kernel } = (await lab.panel(name)).sessionContext.session;
    const future = kernel.requestExecute({ code, store_history: false });
    let printed = "";
    future.onIOPub = ({ header, content }) => {
      if (header.msg_type === "stream") printed += content.text;
    };
    const { content } = await future.done;
    if (content.status !== "ok") throw new Error(`${content.ename}: ${content.evalue}`);
    return printed;
  },

  async shutDown(name) {
    await (await lab.panel(name)).sessionContext.shutdown();
  },

  // Pictures of the outputs that a reader would not see.
  async brokenPictures() {
    const pictures = [...document.querySelectorAll(".jp-OutputArea img")];
    await Promise.all(pictures.map((picture) => picture.decode().catch(() => null)));
    return pictures.filter((picture) => picture.naturalWidth === 0 || picture.width === 0).length;
  },

  // What scrolls the notebook.
  scroller() {
    return document.querySelector(".jp-NotebookPanel .jp-WindowedPanel-outer");
  },

  // What does not fit into the width of its output area.
  wide() {
    return [...document.querySelectorAll(".jp-OutputArea-output")].flatMap((area) => {
      const edge = area.getBoundingClientRect().right + 1;
      return [area, ...area.querySelectorAll(".jupyter-widgets, .lm-Widget, canvas")]
        .filter((part) => part.checkVisibility() && part.getBoundingClientRect().right > edge)
        .map((part) => `${part.className}: ${part.textContent.slice(0, 100)}`);
    });
  },

  // The height at which nothing of the notebook is scrolled away.
  wholeHeight() {
    const scroller = lab.scroller();
    return Math.ceil(window.innerHeight + scroller.scrollHeight - scroller.clientHeight);
  },

  // The explorer's canvases, and a number that stands for what each shows (0: nothing).
  canvases() {
    return [...document.querySelectorAll(".jupyter-matplotlib-canvas-div canvas:first-of-type")];
  },

  looks() {
    return lab.canvases().map((canvas) => {
      if (canvas.width === 0 || canvas.height === 0) return 0;
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      let [blank, hash] = [true, 7];
      for (const pixel of new Uint32Array(pixels.buffer)) {
        blank &&= pixel === hash || hash === 7;
        hash = blank ? pixel : (Math.imul(hash, 31) + pixel) | 0;
      }
      return blank ? 0 : hash;
    });
  },

  // The SHA-256 of what each shows.
  digests() {
    return Promise.all(
      lab.canvases().map(async (canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return [...new Uint8Array(await crypto.subtle.digest("SHA-256", data))];
      }),
    );
  },

  // From now on, at each frame: how often a canvas was another one, of another size, or blank.
  watch() {
    const first = lab.canvases();
    const sizes = () => lab.canvases().map((canvas) => [canvas.width, canvas.height].join());
    const before = sizes().join(" ");
    const found = (lab.watched = { frames: 0, replaced: 0, resized: 0, blank: 0, on: true });
    const look = () => {
      const now = lab.canvases();
      found.frames += 1;
      found.replaced += now.length !== first.length || now.some((canvas, i) => canvas !== first[i]);
      found.resized += sizes().join(" ") !== before;
      found.blank += lab.looks().includes(0);
      if (found.on) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  },

  unwatch() {
    lab.watched.on = false;
    return lab.watched;
  },

  // Milliseconds from the next key press until each picture and each sentence has changed. Networks and
  // circuits may come again as they were; they are waited for three seconds, the others ten minutes.
  async redraw(sentences) {
    const text = () => sentences.map((name) => document.querySelector(name).textContent);
    const looked = lab.looks();
    const said = text();
    const start = await new Promise((resolve) =>
      window.addEventListener("keydown", () => resolve(performance.now()), { capture: true, once: true }),
    );
    const times = { pictures: looked.map(() => null), sentences: said.map(() => null) };
    const missing = (i) => times.pictures[i] === null || times.sentences[i] === null;
    const wait = () => ([0, 1, 3].some(missing) ? 600_000 : [2, 4].some(missing) ? 3000 : 0);
    while (performance.now() < start + wait()) {
      await new Promise(requestAnimationFrame);
      const since = performance.now() - start;
      lab.looks().forEach((look, i) => look !== looked[i] && (times.pictures[i] ??= since));
      text().forEach((words, i) => words !== said[i] && (times.sentences[i] ??= since));
    }
    return times;
  },

  command(name, values = {}) {
    return window.jupyterapp.commands.execute(name, values);
  },
};
