// A classic script in the head: the theme must be there before the first paint.
(() => {
  const root = document.documentElement;
  const kept = localStorage.getItem("finecut-theme");
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      const dark = root.dataset.theme
        ? root.dataset.theme === "dark"
        : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("finecut-theme", root.dataset.theme);
      dispatchEvent(new Event("finecut-theme"));
    });
  });
})();
