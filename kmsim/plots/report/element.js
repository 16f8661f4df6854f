"use strict";

/** An element. Children that are text become text nodes: nothing in the data is ever read as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Where a part of the page goes. */
function place(id) {
  return document.getElementById(id);
}

/** A link that saves a text as a file; nothing is asked of a network. */
function makeDownload(text, file, type, label) {
  return make("a", { href: `data:${type};charset=utf-8,${encodeURIComponent(text)}`, download: file }, label);
}

/** A choice among texts; `chosen` is called with the number of the one that is taken. */
function makeChoice(label, texts, chosen) {
  const options = texts.map((text, number) => make("option", { value: number }, text));
  const select = make("select", { change: () => chosen(Number(select.value)) }, ...options);
  return make("label", {}, label, select);
}

const WHOLE = new Intl.NumberFormat("en");
const ROUNDED = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const SCIENTIFIC = new Intl.NumberFormat("en", { notation: "scientific", maximumSignificantDigits: 3 });

/** A number as it is read: all digits of a whole number, four of any other. */
function shownNumber(number) {
  if (number === null) return "–";
  if (Number.isInteger(number)) return WHOLE.format(number);
  const size = Math.abs(number);
  return size < 1e-3 || size >= 1e12 ? SCIENTIFIC.format(number).toLowerCase() : ROUNDED.format(number);
}

/** A time in the unit that suits the longest time beside it. */
function shownTime(ns, longestNs) {
  const units = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];
  const [unit, scale] = units.find(([, scale]) => longestNs >= scale) ?? ["ns", 1];
  return `${ROUNDED.format(ns / scale)} ${unit}`;
}
