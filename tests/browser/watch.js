// Adds up layout shifts, apart from those that an input of the user brought about.
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries())
    if (!entry.hadRecentInput)
      window.shifts.push({
        value: entry.value,
        progress: document.querySelector(".progress") !== null,
        nodes: entry.sources.map((s) => s.node && s.node.nodeType === 1 && s.node.outerHTML.slice(0, 120)),
      });
}).observe({ type: "layout-shift", buffered: true });
