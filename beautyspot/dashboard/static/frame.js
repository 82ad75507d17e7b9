// Draws one piece of untrusted content. It runs in a frame of its own origin only, from which nothing of the page can
// be reached; opened as anything else, it refuses.
(async () => {
  const place = document.getElementById("drawing");
  if (self.origin !== "null") {
    place.textContent = "refused: this page draws in a sandboxed frame only";
    return;
  }
  const { kind, content } = JSON.parse(document.getElementById("content").textContent);
  const draw = {
    async mermaid() {
      mermaid.initialize({ startOnLoad: false, securityLevel: "strict" });
      const { svg } = await mermaid.render("diagram", content);
      place.innerHTML = svg;
    },
    async graphviz() {
      const viz = await Viz.instance();
      place.replaceChildren(viz.renderSVGElement(content));
    },
    async plotly() {
      const layout = { ...content.layout, autosize: true, width: undefined, height: undefined };
      await Plotly.newPlot(place, content.data ?? [], layout, { responsive: true, displaylogo: false });
    },
    async vega() {
      await vegaEmbed(place, content, { actions: false, loader: { http: { mode: "same-origin" } } });
    },
  };
  try {
    await draw[kind]();
    document.body.dataset.drawn = kind;
  } catch (error) {
    place.className = "failed";
    place.textContent = `it cannot be drawn: ${error?.message ?? error}`;
    document.body.dataset.drawn = "failed";
  }
})();
