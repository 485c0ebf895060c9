"use strict";
// Light or dark: as the system says, unless the reader chose. Runs first, so that nothing flashes.
const theme = {
  system: matchMedia("(prefers-color-scheme: dark)"),
  chosen: "auto",

  get dark() {
    return this.chosen === "dark" || (this.chosen === "auto" && this.system.matches);
  },

  apply() {
    document.documentElement.classList.toggle("dark", this.dark);
    document.dispatchEvent(new Event("themechange"));
  },

  color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  },
};

// A page from a file may be refused storage; the choice then lasts as long as the page.
try {
  theme.chosen = localStorage.getItem("dynaclr-theme") || "auto";
} catch {}
theme.apply();
theme.system.addEventListener("change", () => theme.apply());

document.addEventListener("DOMContentLoaded", () => {
  const choice = document.getElementById("theme");
  choice.value = theme.chosen;
  choice.addEventListener("change", () => {
    theme.chosen = choice.value;
    try {
      localStorage.setItem("dynaclr-theme", theme.chosen);
    } catch {}
    theme.apply();
  });
});
