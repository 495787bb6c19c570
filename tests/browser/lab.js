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
      if (header.msg_type === "error") printed += content.traceback.join("\n");
    };
    await future.done;
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

  // The height at which nothing of the notebook is scrolled away.
  wholeHeight() {
    const scroller = document.querySelector(".jp-NotebookPanel .jp-WindowedPanel-outer");
    return Math.ceil(window.innerHeight + scroller.scrollHeight - scroller.clientHeight);
  },

  changeTheme(theme) {
    return window.jupyterapp.commands.execute("apputils:change-theme", { theme });
  },
};
