// A browser starts no worker for a page that is read from the disk, and the search needs one: here
// it is a script in a hidden frame. For pages of a server nothing changes.
(() => {
  "use strict";
  if (location.protocol !== "file:") return;

  // In the frame: messages go to and fro, and scripts are loaded one after another.
  function inFrame() {
    const worker = window.frameElement.worker;
    window.postMessage = (data) => worker.dispatchEvent(new parent.MessageEvent("message", { data }));
    window.importScripts = (...urls) =>
      urls.reduce(
        (before, url) =>
          before.then(
            () =>
              new Promise((resolve, reject) => {
                const script = document.createElement("script");
                script.src = url;
                script.onload = resolve;
                script.onerror = reject;
                document.body.append(script);
              }),
          ),
        Promise.resolve(),
      );
  }

  class FrameWorker extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.worker = this;
      document.body.append(frame);
      const { contentDocument: inside } = frame;
      inside.open();
      inside.write(`<body><script>(${inFrame})()<\/script><script src="${new URL(url, location)}"><\/script>`);
      inside.close();
      this.frame = frame;
      this.loaded = new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
      this.addEventListener("message", (event) => this.onmessage && this.onmessage(event));
    }

    postMessage(data) {
      const { frame } = this;
      this.loaded.then(() => frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  }

  window.Worker = FrameWorker;
})();
