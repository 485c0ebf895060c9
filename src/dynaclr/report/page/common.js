"use strict";
// What the scripts of the page share.

// Okabe and Ito (2008), as in the figures of the other stages.
const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999"];

const readData = (name) => JSON.parse(document.getElementById(`data-${name}`).textContent);

// An element with properties and children: text or other elements.
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
