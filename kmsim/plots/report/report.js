// Fills the page with what its data say. `make` is the only way from data to elements.

const data = JSON.parse(place("data").textContent);
let shownMap;

function showHead() {
  document.title = `${data.name}: kmsim report`;
  place("name").textContent = data.name;
  place("question").textContent = data.question;
  place("warnings").replaceChildren(...data.warnings.map((warning) => make("li", {}, warning)));
  place("warnings").hidden = !data.warnings.length;
  place("facts").replaceChildren(...data.facts.map((fact) => make("li", {}, fact)));
  place("footer").textContent = data.footer;
  const headings = [...document.querySelectorAll("main h2")];
  const links = headings.map((heading) => make("a", { href: `#${heading.parentElement.id}` }, heading.textContent));
  place("contents").replaceChildren(...links.map((link) => make("li", {}, link)));
}

function showFigures() {
  const figures = data.figures.map((figure) => {
    const image = make("img", { src: `data:image/png;base64,${figure.png}`, alt: figure.alt, width: figure.width });
    const caption = make("figcaption", {}, figure.title, " ");
    if (figure.csv) caption.append(makeDownload(figure.csv, `${figure.name}.csv`, "text/csv", "Its data as CSV"));
    return make("figure", {}, image, caption);
  });
  const none = make("p", { class: "quiet" }, "No figure has been drawn.");
  place("figures").replaceChildren(...(figures.length ? figures : [none]));
}

function showRuns() {
  const label = data.shown.length > 1 ? "Shown run" : "";
  if (label) place("shown-choice").replaceChildren(makeChoice(label, data.shown.map((run) => run.label), showRun));
  else place("shown-choice").textContent = data.shown.length ? data.shown[0].label : "";
  if (data.shown.length) return showRun(0);
  for (const id of ["map", "operations", "locks"]) {
    place(id).replaceChildren(make("p", { class: "quiet" }, "No run's own tables are here."));
  }
}

function showRun(number) {
  const run = data.shown[number];
  shownMap?.end();
  shownMap = undefined;
  showTable("operations", run.operations);
  showTable("locks", run.locks);
  if (run.zones.length) shownMap = new MemoryMap(place("map"), run.zones);
  else place("map").replaceChildren(make("p", { class: "quiet" }, run.no_map));
}

function showConfig() {
  const file = makeDownload(data.config, data.config_file, "application/yaml", `Save as ${data.config_file}`);
  const details = make("details", {}, make("summary", {}, "The resolved config"), make("pre", { tabindex: 0 }, data.config));
  place("config").replaceChildren(details, make("p", {}, file));
}

function showProvenance() {
  const facts = data.provenance.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  place("provenance").replaceChildren(make("dl", {}, ...facts));
  place("reproduce").replaceChildren(
    make("p", {}, data.reproduce), make("pre", { tabindex: 0 }, data.commands.join("\n")),
  );
}

function showFailures() {
  const texts = data.tracebacks.map(({ name, text }) =>
    make("details", {}, make("summary", {}, name), make("pre", { tabindex: 0 }, text)));
  place("tracebacks").replaceChildren(...texts);
  const notes = data.left_out.map((note) => make("li", {}, note));
  place("left-out").replaceChildren(notes.length ? make("ul", {}, ...notes) : make("p", {}, "Nothing."));
}

function chooseTheme() {
  const button = place("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const follow = () => {
    button.textContent = isDark() ? "Light colours" : "Dark colours"; // what it does
    shownMap?.resize();
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    follow();
  });
  system.addEventListener("change", follow);
  follow();
}

showHead();
showFigures();
for (const [id, table] of Object.entries(data.tables)) showTable(id, table);
showRuns();
showFailures();
showConfig();
showProvenance();
chooseTheme();
