// A learner opens lesson 01 in JupyterLab, runs it by keyboard, changes a cell and runs it again.
//
// The server is started by the command that a learner types, on a course folder of its own. Every wait is for something in the page, with a deadline
// whose message shows what is there instead. A key is pressed only when the page shows that it will be taken, and its effect is waited for before the
// next one. Screenshots lie in THREADBOOK_ARTEFACTS.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const BINARY = wanted("THREADBOOK_BIN");
const HOME = wanted("THREADBOOK_HOME");
const COURSE = join(HOME, "course");
const ARTEFACTS = wanted("THREADBOOK_ARTEFACTS");
const TOKEN = "threadbook-browser-test";
const LESSON = "01_concurrency.ipynb";
const TIMELINE = "application/vnd.threadbook.timeline+json";
// Long enough for a machine whose cores are all busy; a test that passes never waits so long.
const DEADLINE = 60_000;
// The first start of all builds the prelude.
const START_DEADLINE = 300_000;

let server;
let browser;
let page;
let address;
let said = "";
const complaints = [];

function wanted(name) {
  assert.ok(process.env[name], `${name} is not set: run this by \`cargo verify --only browser\``);
  return process.env[name];
}

/** A port that was free a moment ago. */
function freePort() {
  return new Promise((resolve, reject) => {
    const listener = createServer();
    listener.on("error", reject);
    listener.listen(0, "127.0.0.1", () => {
      const { port } = listener.address();
      listener.close(() => resolve(port));
    });
  });
}

/** Starts `threadbook lab` and resolves when it says where it listens. */
function lab(port) {
  server = spawn(BINARY, ["lab", COURSE, "--no-browser", "--port", String(port)], {
    env: { ...process.env, JUPYTER_TOKEN: TOKEN },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no address came; what it said:\n${said}`)), START_DEADLINE);
    const hear = (bytes) => {
      said += bytes;
      if (said.includes(`http://127.0.0.1:${port}/`) || said.includes(`http://localhost:${port}/`)) {
        clearTimeout(late);
        resolve();
      }
    };
    server.stdout.on("data", hear);
    server.stderr.on("data", hear);
    server.on("exit", (code) => {
      clearTimeout(late);
      reject(new Error(`threadbook lab ended with ${code}; what it said:\n${said}`));
    });
  });
}

/** The notebook as a reader would sum it up, one line a cell: which one is active, its number, its first line, what lies below it. */
function cellsInWords() {
  return page.evaluate(() =>
    [...document.querySelectorAll(".jp-Notebook .jp-Cell")]
      .map((cell, at) => {
        const active = cell.classList.contains("jp-mod-active") ? ">" : " ";
        const prompt = cell.querySelector(".jp-InputPrompt")?.textContent ?? "";
        const text = cell.querySelector(".cm-line, .jp-RenderedMarkdown")?.textContent.trim().slice(0, 50);
        const outputs = [...cell.querySelectorAll(".jp-OutputArea-output")].map((output) => `${output.dataset.mimeType}: ${output.textContent.trim().slice(0, 120)}`);
        return [`${active} ${at} ${prompt} ${text}`, ...outputs].join("\n      ");
      })
      .join("\n"),
  );
}

/** An error that says what was waited for, and all that is there instead. */
async function failure(what, error) {
  const there = async () => {
    await page.screenshot({ path: join(ARTEFACTS, "failed.png") });
    const rest = await page.evaluate(() => {
      const notebook = document.querySelector(".jp-Notebook");
      const focus = document.activeElement;
      return [
        `kernel: ${document.querySelector(".jp-Notebook-ExecutionIndicator")?.dataset.status}; notebook: ${notebook?.className}; focus: ${focus?.tagName} ${focus?.className}`,
        `dialogs: ${[...document.querySelectorAll(".jp-Dialog, .Toastify__toast")].map((dialog) => dialog.innerText).join(" | ")}`,
        notebook ? "" : document.body.innerText.slice(0, 4000),
      ].join("\n");
    });
    return `${await cellsInWords()}\n${rest}`;
  };
  const shown = await there().catch((gone) => `nothing that can be asked: ${gone.message}`);
  return new Error(
    `${what}: ${error.message}\nthe page shows:\n${shown}\nthe browser complained:\n${complaints.slice(-20).join("\n")}\nthe server said:\n${said.slice(-3000)}`,
  );
}

/** Waits for a selector. */
async function see(selector, what) {
  const found = page.locator(selector).first();
  await found.waitFor({ timeout: DEADLINE }).catch(async (error) => {
    throw await failure(`${what} is not to be seen (${selector})`, error);
  });
  return found;
}

/** Waits until a question to the page has the answer yes. */
async function until(question, what, argument) {
  await page.waitForFunction(question, argument, { timeout: DEADLINE }).catch(async (error) => {
    throw await failure(`never seen: ${what}`, error);
  });
}

const shot = (name) => page.screenshot({ path: join(ARTEFACTS, `${name}.png`) });
const cell = (at) => page.locator(".jp-Notebook .jp-Cell").nth(at);
const idle = () => until(() => document.querySelector(".jp-Notebook-ExecutionIndicator")?.dataset.status === "idle", "the kernel is idle");

/** Waits until this cell is the one that a key reaches. In command mode that needs the focus in the notebook, in edit mode in the cell's editor. */
function inReachOfKeys(at, mode) {
  return until(
    ({ at, mode }) => {
      const notebook = document.querySelector(".jp-Notebook");
      const cells = [...notebook.querySelectorAll(".jp-Cell")];
      const focused = mode === "command" ? notebook : cells[at]?.querySelector(".cm-content");
      return (
        notebook.classList.contains(`jp-mod-${mode}Mode`) &&
        cells[at]?.classList.contains("jp-mod-active") &&
        cells.filter((cell) => cell.classList.contains("jp-mod-selected")).length <= 1 &&
        focused?.contains(document.activeElement)
      );
    },
    `cell ${at} alone is active, in ${mode} mode, and has the focus`,
    { at, mode },
  );
}

/** Selects a cell without editing it: a click beside its text, where there is no link that it could hit. */
async function select(at) {
  await cell(at).locator(".jp-InputArea-prompt").click({ position: { x: 30, y: 8 } });
  await page.keyboard.press("Escape");
  await inReachOfKeys(at, "command");
}

/** The number beside each code cell: `null` when it has none, `"*"` while it waits or runs. */
function numbers() {
  return page.evaluate(() =>
    [...document.querySelectorAll(".jp-Notebook .jp-CodeCell .jp-InputPrompt")].map((prompt) => {
      const inside = prompt.textContent.match(/\[(.*)\]/)?.[1].trim() ?? "";
      return inside === "" ? null : inside === "*" ? inside : Number(inside);
    }),
  );
}

/** Waits until a code cell has run: a number, and another one than before. */
function ran(at, before = null) {
  return until(
    ({ at, before }) => {
      const number = document.querySelectorAll(".jp-Notebook .jp-Cell")[at]?.querySelector(".jp-InputPrompt")?.textContent.match(/\[(\d+)\]/)?.[1];
      return number !== undefined && Number(number) !== before;
    },
    `cell ${at} has run`,
    { at, before },
  );
}

/** Where the cells are that show a picture, or that are red. */
const having = (selector) =>
  page.evaluate((selector) => [...document.querySelectorAll(".jp-Notebook .jp-Cell")].flatMap((cell, at) => (cell.querySelector(selector) ? [at] : [])), selector);
const PICTURE = ".jp-OutputArea-output svg[role=img]";
const RED = '[data-mime-type="application/vnd.jupyter.error"], [data-mime-type="application/vnd.jupyter.stderr"]';

/** The lesson as it was shipped, before anybody ran it. */
let shipped;
/** Where among its cells those are that a condition holds for. */
const places = (condition) => shipped.cells.flatMap((cell, at) => (condition(cell, cell.source === undefined ? "" : [cell.source].flat().join("")) ? [at] : []));
const drawn = () => places((cell) => cell.outputs?.some((output) => TIMELINE in (output.data ?? {})));

before(async () => {
  mkdirSync(ARTEFACTS, { recursive: true });
  const port = await freePort();
  await lab(port);
  shipped = JSON.parse(readFileSync(join(COURSE, LESSON), "utf8"));
  address = `http://127.0.0.1:${port}`;
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  // High enough for all cells of each lesson: JupyterLab leaves out of the page what is far from the view.
  page = await browser.newPage({ viewport: { width: 1300, height: 14_000 } });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  // Only the browser's own "Leave site?" can come, when the launcher is opened over a notebook that was changed.
  page.on("dialog", (dialog) => dialog.accept());
});

after(async () => {
  await browser?.close();
  if (server?.exitCode === null) {
    // As Ctrl-C does it. It ends JupyterLab, and JupyterLab its kernels.
    const ended = new Promise((resolve) => server.on("exit", resolve));
    server.kill("SIGINT");
    const late = setTimeout(() => {
      console.error(`threadbook lab does not end on Ctrl-C; what it said:\n${said.slice(-3000)}`);
      process.exit(1);
    }, 60_000);
    await ended;
    clearTimeout(late);
  }
});

test("the first view of a shipped lesson shows its pictures", async () => {
  await page.goto(`${address}/lab/tree/${LESSON}?token=${TOKEN}`);
  await see(".jp-Notebook .jp-CodeCell", "a code cell of lesson 01");
  await see(".jp-NotebookPanel-toolbar >> text=Rust (Threadbook)", "the name of the kernel");
  await until((count) => document.querySelectorAll(".jp-Notebook .jp-Cell").length === count, "all cells of the lesson", shipped.cells.length);
  await until(
    ({ selector, count }) => document.querySelectorAll(selector).length === count,
    "the pictures that nobody here has run yet",
    { selector: PICTURE, count: drawn().length },
  );
  assert.ok(drawn().length >= 3, `lesson 01 ships with pictures, not with ${drawn().length}`);
  assert.deepEqual(await having(PICTURE), drawn());
  for (const at of drawn()) {
    const box = await cell(at).locator("svg[role=img]").boundingBox();
    assert.ok(box?.width > 300 && box.height > 50, `the picture of cell ${at} is large enough to be read: ${JSON.stringify(box)}`);
  }
  await idle();
  await shot("first-view");
});

/** Takes away what was shipped, so that what is seen afterwards is what this kernel made. */
async function clear() {
  await select(0);
  await page.locator("#jp-MainMenu >> text=Edit").click();
  await page.locator('.lm-Menu-item:has-text("Clear Outputs of All Cells")').click();
  await until(() => !document.querySelector(".jp-Notebook .jp-OutputArea-output"), "no cell has an output");
}

/** Clears what a lesson was shipped with, runs all its cells by keyboard, and sees that each ran once, those drew that should, and those are red that say so. */
async function runAllByKeyboard() {
  await clear();
  const code = places((cell) => cell.cell_type === "code");
  assert.deepEqual(await numbers(), code.map(() => null), "no code cell has a number");

  await select(0);
  for (let at = 0; at < shipped.cells.length; at += 1) {
    await inReachOfKeys(at, "command");
    await page.keyboard.press("Shift+Enter");
    await until(
      (at) => {
        const cells = document.querySelectorAll(".jp-Notebook .jp-Cell");
        const prompt = cells[at].classList.contains("jp-CodeCell") && cells[at].querySelector(".jp-InputPrompt").textContent;
        return cells[at + 1]?.classList.contains("jp-mod-active") && (prompt === false || /\[(\*|\d+)\]/.test(prompt));
      },
      `Shift+Enter runs cell ${at} and goes on to the next`,
      at,
    );
  }
  // Below the last cell JupyterLab makes an empty one to go on with; it never gets a number.
  await inReachOfKeys(shipped.cells.length, "edit");
  for (const at of code) {
    await ran(at);
  }
  await idle();
  assert.deepEqual(await numbers(), [...code.map((_, at) => at + 1), null], "each cell ran once, in the order of the page");

  const pictures = await having(PICTURE);
  for (const at of drawn()) {
    assert.ok(pictures.includes(at), `cell ${at} shows a picture again:\n${await cellsInWords()}`);
  }
  const onPurpose = places((cell) => cell.metadata.tags?.includes("raises-exception"));
  assert.deepEqual(await having(RED), onPurpose, `the red cells are those that say so:\n${await cellsInWords()}`);
  return onPurpose;
}

test("all cells run by keyboard, and only those are red that say so", async () => {
  const onPurpose = await runAllByKeyboard();
  // One shows what the compiler refuses; the other is the check of the exercise, which nobody has solved here.
  assert.equal(onPurpose.length, 2, "two cells of lesson 01 are red on purpose");
  for (const [at, says] of [
    [onPurpose[0], /E0499/],
    [onPurpose[1], /came to a deadlock/],
  ]) {
    assert.match(await cell(at).locator(".jp-OutputArea").innerText(), says);
  }
  await shot("after-run-all");
  await page.locator(".jp-OutputArea-output:has(svg[role=img])").first().screenshot({ path: join(ARTEFACTS, "timeline.png") });
});

/** Where a hover text lies that says this: what the mouse meets in its middle, and how that looks then. */
async function hover(words) {
  const spot = page.locator(`.jp-OutputArea-output i[title*="${words}"]`).first();
  await spot.scrollIntoViewIfNeeded();
  const box = await spot.boundingBox();
  assert.ok(box, `a hover text with "${words}"`);
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  return page.evaluate(([x, y]) => {
    const met = document.elementFromPoint(x, y);
    return { title: met?.title ?? "", outline: met ? getComputedStyle(met).outlineStyle : "none" };
  }, [x, y]);
}

test("the mouse over a picture meets the words of what lies there", async () => {
  const met = await hover("waited");
  assert.match(met.title, /\w+ (waited|could|ran|held|slept|computed|gave|made|was|ended)/, "what lies there, or something smaller upon it, says what it is");
  assert.equal(met.outline, "solid", "and is marked");
  const own = await page.evaluate(() =>
    [...document.querySelectorAll('.jp-OutputArea-output i[title*=" waited "]')].some((spot) => /waited .+ for .+\(cell \d+ line \d+/.test(spot.title)),
  );
  assert.ok(own, "a wait says for what, and at which line of which cell");
});

test("the axis is switched by the keyboard, without a script", async () => {
  const control = page.locator(".jp-OutputArea-output input.ax").first();
  await control.waitFor({ timeout: DEADLINE });
  const seen = () =>
    control.evaluate((control) => {
      const root = control.parentElement;
      const shown = (group) => [...root.querySelectorAll(group)].some((part) => getComputedStyle(part).display !== "none");
      return { time: shown("svg g.w"), steps: shown("svg g.s"), says: control.getAttribute("aria-label") };
    });
  const before = await seen();
  assert.equal(before.time, !before.steps, "one of the two is seen");
  assert.ok(before.says, "the control has a name");
  await control.focus();
  await page.keyboard.press("Space");
  const after = await seen();
  assert.deepEqual([after.time, after.steps], [before.steps, before.time], "now the other one");
  await page.keyboard.press("Space");
  assert.deepEqual(await seen(), before);
});

/** Chooses a theme of JupyterLab's by its menu. */
async function theme(name, isLight) {
  await page.locator("#jp-MainMenu >> text=Settings").click();
  await page.locator('.lm-Menu-itemLabel:text-is("Theme")').hover();
  await page.locator(`.lm-Menu-itemLabel:text-is("${name}")`).click();
  await until((isLight) => document.body.dataset.jpThemeLight === String(isLight), `the theme is ${name}`, isLight);
}

test("a picture's words are read in the dark theme as well", async () => {
  /** How light the letters are and what lies behind them, from 0 to 255. */
  const lightness = () =>
    page.evaluate(() => {
      const grey = (colour) => {
        const [red, green, blue] = colour.match(/[\d.]+/g).map(Number);
        return (red + green + blue) / 3;
      };
      const picture = document.querySelector(".jp-OutputArea-output svg[role=img]").closest("[id^=tb-]");
      let paper = picture;
      while (paper && /rgba\(.*, 0\)|transparent/.test(getComputedStyle(paper).backgroundColor)) {
        paper = paper.parentElement;
      }
      return { letters: grey(getComputedStyle(picture).color), paper: grey(getComputedStyle(paper ?? document.body).backgroundColor) };
    });
  const light = await lightness();
  assert.ok(light.paper - light.letters > 120, `dark letters on light paper: ${JSON.stringify(light)}`);
  await theme("JupyterLab Dark", false);
  const dark = await lightness();
  assert.ok(dark.letters - dark.paper > 120, `light letters on dark paper: ${JSON.stringify(dark)}`);
  await page.locator(".jp-OutputArea-output:has(svg[role=img])").first().screenshot({ path: join(ARTEFACTS, "timeline-dark.png") });
  await theme("JupyterLab Light", true);
});

test("axe-core finds nothing serious in the outputs", async () => {
  // With all that is folded unfolded: who reads a table looks into it.
  await page.evaluate(() => {
    for (const folded of document.querySelectorAll(".jp-OutputArea-output details")) {
      folded.open = true;
    }
  });
  await page.evaluate(readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8"));
  const found = await page.evaluate(async () => {
    const { violations, passes } = await window.axe.run({ include: [[".jp-OutputArea-output"]] });
    const told = ({ id, impact, help, nodes }) => `${impact} ${id}: ${help}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")}`;
    return { bad: violations.filter(({ impact }) => ["serious", "critical"].includes(impact)).map(told), held: passes.map(({ id }) => id) };
  });
  assert.ok(found.held.includes("svg-img-alt") || found.held.includes("role-img-alt"), `it looked at the pictures: ${found.held.join(", ")}`);
  assert.deepEqual(found.bad, []);
});

test("a cell is changed and run again, and its new output and picture are there", async () => {
  const [at] = places((_, source) => source.includes('s.spawn_named("ada", || bake("rye"))'));
  assert.ok(at !== undefined, "the cell with two bakers is there");
  const [before] = (await numbers()).slice(places((cell) => cell.cell_type === "code").indexOf(at));
  const written = 'scope(|s| { s.spawn_named("linus", || bake("spelt")); });';
  await cell(at).locator(".cm-content").click();
  await inReachOfKeys(at, "edit");
  await page.keyboard.press("Control+A");
  await page.keyboard.insertText(written);
  await until(
    ({ at, written }) => document.querySelectorAll(".jp-Notebook .jp-Cell")[at].querySelector(".cm-content").textContent === written,
    "the cell holds what was written, and nothing else",
    { at, written },
  );
  await page.keyboard.press("Control+Enter");
  await ran(at, before);
  await idle();
  await until(
    (at) => {
      const changed = document.querySelectorAll(".jp-Notebook .jp-Cell")[at];
      return changed.querySelector(".jp-OutputArea")?.innerText.includes("spelt is ready") && changed.querySelector('.jp-OutputArea-output [data-t="linus"]') !== null;
    },
    "the changed cell shows what it printed and drew",
    at,
  );
  assert.equal(await cell(at).locator(RED).count(), 0, await cellsInWords());
  assert.equal(await cell(at).locator(PICTURE).count(), 1, "one picture, in the place of the old one");
  assert.ok(!(await cell(at).locator(".jp-OutputArea").innerText()).includes("rye is ready"), "what the old text printed is gone");
  await shot("changed-cell");
});

for (const lesson of ["02_spawn.ipynb", "07_channels.ipynb"]) {
  test(`all cells of ${lesson} run by keyboard as well`, async () => {
    // In a workspace of its own: JupyterLab would open the lessons before it as well.
    await open(lesson, `lesson-${lesson.slice(0, 2)}`);
    assert.ok(drawn().length >= 3, `${lesson} ships with pictures, not with ${drawn().length}`);
    await runAllByKeyboard();
    await shot(lesson.replace(".ipynb", ""));
  });
}

/** Opens a lesson in a workspace of its own, with what was shipped of it in `shipped`. */
async function open(lesson, workspace) {
  shipped = JSON.parse(readFileSync(join(COURSE, lesson), "utf8"));
  await page.goto(`${address}/lab/workspaces/${workspace}/tree/${lesson}?token=${TOKEN}`);
  await see(".jp-NotebookPanel-toolbar >> text=Rust (Threadbook)", "the name of the kernel");
  await until((count) => document.querySelectorAll(".jp-Notebook .jp-Cell").length === count, `all cells of ${lesson}`, shipped.cells.length);
  await idle();
}

/** The lines of a cell's editor. */
const linesOf = (at) => page.evaluate((at) => [...document.querySelectorAll(".jp-Notebook .jp-Cell")[at].querySelectorAll(".cm-line")].map((line) => line.textContent), at);

/** Puts other lines into a cell. */
async function write(at, lines) {
  await cell(at).locator(".cm-content").click();
  await inReachOfKeys(at, "edit");
  await page.keyboard.press("Control+A");
  for (const [number, line] of lines.entries()) {
    if (number > 0) {
      await page.keyboard.press("Enter");
    }
    await page.keyboard.insertText(line);
  }
  await until(
    ({ at, lines }) => {
      const there = [...document.querySelectorAll(".jp-Notebook .jp-Cell")[at].querySelectorAll(".cm-line")].map((line) => line.textContent.trim());
      return JSON.stringify(there) === JSON.stringify(lines);
    },
    `cell ${at} holds what was written, and nothing else`,
    { at, lines },
  );
}

/** Runs one cell and gives the text below it. */
async function run(at) {
  const number = async () => (await cell(at).locator(".jp-InputPrompt").textContent()).match(/\[(\d+)\]/)?.[1];
  const before = await number();
  await cell(at).locator(".jp-InputArea-prompt").click({ position: { x: 30, y: 8 } });
  await page.keyboard.press("Escape");
  await inReachOfKeys(at, "command");
  await page.keyboard.press("Control+Enter");
  await ran(at, before === undefined ? null : Number(before));
  await idle();
  return cell(at).locator(".jp-OutputArea").innerText();
}

/** Ends the kernels of the notebooks that were open, so that the next one to be opened has tried no exercise yet. */
async function endKernels() {
  const headers = { Authorization: `token ${TOKEN}` };
  const sessions = await (await fetch(`${address}/api/sessions`, { headers })).json();
  for (const { id } of sessions) {
    const ended = await fetch(`${address}/api/sessions/${id}`, { method: "DELETE", headers });
    assert.equal(ended.status, 204, `session ${id} is over`);
  }
}

const theOne = (beginning) => {
  const found = places((it, source) => it.cell_type === "code" && source.startsWith(beginning));
  assert.equal(found.length, 1, `one cell begins with ${beginning}`);
  return found[0];
};

test("a learner says what will happen, and sees what did", async () => {
  await open("00_start.ipynb", "learner-00");
  await clear();
  const guess = theOne("predict(");
  await write(guess, ['predict("lanes", 3);']);
  await run(guess);
  const [picture] = drawn();
  await run(picture);
  assert.equal(await cell(picture).locator(PICTURE).count(), 1);
  assert.match(await run(theOne("reveal(")), /lanes: 3, as you said/);
  assert.match(await run(theOne(":progress")), /taking turns|exercises are done/);
});

/**
 * A learner's way through an exercise: it is run unsolved and fails, the first hint is taken, the cell is reset, solved, and passes; then on to the next lesson.
 *
 * `failed` and `hint`: what the unsolved check and the first hint say. `next`: the file of the next lesson, if there is one.
 */
async function walkThrough({ lesson, id, failed, hint, next, before = () => {} }) {
  // A name with a dot is none of a workspace.
  await open(lesson, `learner-${id.replace(".", "-")}`);
  await clear();
  await before();
  const exercise = shipped.metadata.threadbook.exercises.find((one) => one.number === id);
  const [stub] = exercise.start.split("\n").filter((line) => line.startsWith("fn "));
  const at = theOne(`// exercise: ${id}`);
  const check = theOne(`// check: ${id}`);
  await run(at);
  const said = await run(check);
  assert.equal(await cell(check).locator(RED).count(), 1, said);
  assert.match(said, failed);
  assert.match(said, /write `:hint` into a cell for the first of three hints/);
  await shot(`failed-check-${id}`);

  await write(at, [`// exercise: ${id}`, `${stub} todo!() }`, ":hint"]);
  const hinted = await run(at);
  assert.ok(hinted.includes(`Hint 1 of 3 for exercise ${id}`), hinted);
  assert.match(hinted, hint);
  await shot(`hint-${id}`);

  await write(at, [`// exercise: ${id}`, ":reset", `${stub} todo!() }`]);
  await run(at);
  await until(
    ({ at, start }) => [...document.querySelectorAll(".jp-Notebook .jp-Cell")[at].querySelectorAll(".cm-line")].map((line) => line.textContent).join("\n") === start,
    "the cell has its first text again",
    { at, start: exercise.start },
  );
  assert.deepEqual((await linesOf(at)).join("\n"), exercise.start);

  const solution = exercise.solution.match(/```rust\n([^]*?)\n```/)[1];
  await write(at, [`// exercise: ${id}`, solution.split("\n").map((line) => line.trim()).join(" ")]);
  await run(at);
  const passed = await run(check);
  assert.equal(await cell(check).locator(RED).count(), 0, passed);
  assert.ok(passed.includes(`exercise ${id} is done`), passed);
  await shot(`passed-check-${id}`);
  if (next !== undefined) {
    assert.match(await linkTo(next).getAttribute("href"), new RegExp(`${next}\\.ipynb`));
  }
}

/** The link below a lesson's last cell to the lesson of this file. */
const linkTo = (next) => cell(shipped.cells.length - 1).locator("a", { hasText: `${Number(next.slice(0, 2))}. ` });

test("a learner predicts, sees what happens, and solves the exercise on threads", async () => {
  await endKernels();
  await walkThrough({
    lesson: "02_spawn.ipynb",
    id: "02.1",
    failed: /four threads are started, and each one is waited for/,
    hint: /first start every thread, then join every thread/,
    next: "03_move",
    before: async () => {
      const guess = theOne('predict("bags of main"');
      await write(guess, ['predict("bags of main", 4);']);
      await run(guess);
      const [demo] = places((_, source) => source.includes('reveal("bags of main"'));
      const said = await run(demo);
      assert.match(said, /bags of main: 3/);
      assert.match(said, /4/, "and what was said before");
      assert.equal(await cell(demo).locator(RED).count(), 0, "a wrong guess is nothing red");
      assert.equal(await cell(demo).locator(PICTURE).count(), 1);
    },
  });
});

test("a learner solves the exercise on deadlocks", async () => {
  await endKernels();
  await walkThrough({
    lesson: "12_deadlock.ipynb",
    id: "12.1",
    // By day: the unsolved one comes to a deadlock, or takes its locks in two orders and has luck.
    failed: /came to a deadlock|the locks are taken in one order/,
    hint: /Who takes which lock first/,
  });
});

test("in a notebook that is not trusted a picture is an image above its words", async () => {
  const lesson = JSON.parse(readFileSync(join(COURSE, LESSON), "utf8"));
  const drawing = lesson.cells.find((cell) => cell.outputs?.some((output) => TIMELINE in (output.data ?? {})));
  // Nobody signed it, since it is a new one.
  const cells = [{ ...drawing, id: "foreign", source: "// from somebody else" }];
  writeFileSync(join(COURSE, "foreign.ipynb"), JSON.stringify({ ...lesson, cells }));
  await open("foreign.ipynb", "foreign");
  const image = await see(".jp-OutputArea-output img[alt]", "the image");
  await until(() => document.querySelector(".jp-OutputArea-output img[alt]").naturalWidth > 300, "the image is loaded");
  assert.ok((await image.getAttribute("alt")).length > 20, "and says what it shows");
  assert.equal(await page.locator(".jp-OutputArea-output svg[role=img], .jp-OutputArea-output style").count(), 0, "the sanitizer took the drawing");
  const words = await cell(0).locator(".jp-OutputArea").innerText();
  assert.match(words, /once this notebook is trusted/);
  assert.match(words, /main/);
  assert.doesNotMatch(words, /#tb-|var\(--|stroke|viewBox/, "no style sheet leaks as words");
  await shot("not-trusted");
});

test("what a thread prints after the end of its cell comes below that cell", async () => {
  await endKernels();
  const { kernelspec } = JSON.parse(readFileSync(join(COURSE, LESSON), "utf8")).metadata;
  const code = (id, source) => ({ cell_type: "code", id, metadata: {}, execution_count: null, outputs: [], source });
  const cells = [
    code("starts", 'let (go_on, told) = channel::<&str>();\nlet baker = spawn_named("ada", move || for loaf in told { println!("baked {loaf}"); });'),
    code("tells", 'go_on.send("rye").unwrap();\nprintln!("told her");'),
    code("ends", "drop(go_on);\nbaker.join().unwrap();"),
  ];
  writeFileSync(join(COURSE, "late.ipynb"), JSON.stringify({ cells, metadata: { kernelspec }, nbformat: 4, nbformat_minor: 5 }));
  await open("late.ipynb", "late");
  await run(0);
  assert.doesNotMatch(await cell(0).locator(".jp-OutputArea").innerText(), /baked/, "she was told nothing yet");
  assert.match(await run(1), /told her/);
  await until(() => /baked rye/.test(document.querySelector(".jp-Notebook .jp-Cell")?.innerText ?? ""), "the loaf is said below the cell that started its baker");
  const below = await cell(0).locator(".jp-OutputArea").innerText();
  assert.match(below, /after the end of this cell:[^]*baked rye/, "and is said to be late");
  assert.doesNotMatch(await cell(1).locator(".jp-OutputArea").innerText(), /baked/, "not below the cell that ran meanwhile");
  await shot("late");
  assert.doesNotMatch(await run(2), /baked/);
});

test("a learner fails an exercise, takes a hint, begins again, solves it, and goes on to the next lesson", async () => {
  await endKernels();
  await walkThrough({
    lesson: "07_channels.ipynb",
    id: "07.1",
    failed: /each tock waits for its tick/,
    hint: /You need two channels/,
    next: "08_buffered",
  });

  // In the lessons' own kernel, and in any other: what is done is kept.
  await open("00_start.ipynb", "learner-00-again");
  await clear();
  assert.match(await run(theOne(":progress")), /✓\s*7\. A channel without room is a meeting/);
  await shot("progress");
  // The way to the next lesson is a link, as in every lesson.
  await linkTo("01_concurrency").click();
  await until(() => document.title.includes("01_concurrency") || document.querySelector('.lm-TabBar-tab[title*="01_concurrency"]') !== null, "the next lesson is open");
});

test("the launcher shows the kernel with its logo", async () => {
  await page.goto(`${address}/lab?reset&token=${TOKEN}`);
  await see('.jp-LauncherCard[title*="Rust (Threadbook)"]', "the kernel's card in the launcher");
  await until(() => document.querySelector('.jp-LauncherCard[title*="Rust (Threadbook)"] img')?.naturalWidth > 0, "the logo is loaded");
  await shot("launcher");
});
