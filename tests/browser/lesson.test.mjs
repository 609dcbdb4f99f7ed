// A learner opens lesson 01 in JupyterLab, runs it by keyboard, changes a cell and runs it again.
//
// The server is started by the command that a learner types, on a course folder of its own. Every wait is for something in the page, with a deadline
// whose message shows what is there instead. Screenshots lie in THREADBOOK_ARTEFACTS.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const BINARY = wanted("THREADBOOK_BIN");
const HOME = wanted("THREADBOOK_HOME");
const ARTEFACTS = wanted("THREADBOOK_ARTEFACTS");
const TOKEN = "threadbook-browser-test";
const DEADLINE = 60_000;

let server;
let browser;
let page;
let address;
let said = "";

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
  const folder = join(HOME, "course");
  server = spawn(BINARY, ["lab", folder, "--no-browser", "--port", String(port)], {
    env: { ...process.env, JUPYTER_TOKEN: TOKEN },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no address came; what it said:\n${said}`)), DEADLINE);
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

/** Waits for a selector; says what the notebook shows when it does not come. */
async function see(selector, what, options = {}) {
  try {
    const found = page.locator(selector).first();
    await found.waitFor({ timeout: DEADLINE, ...options });
    return found;
  } catch (error) {
    await page.screenshot({ path: join(ARTEFACTS, "failed.png") });
    const there = await page.evaluate(() => document.body.innerText.slice(0, 4000));
    throw new Error(`${what} is not to be seen (${selector}): ${error.message}\nthe page shows:\n${there}\nthe server said:\n${said.slice(-3000)}`);
  }
}

/** Waits until a question to the page has an answer. */
async function until(question, what, argument) {
  try {
    await page.waitForFunction(question, argument, { timeout: DEADLINE });
  } catch (error) {
    await page.screenshot({ path: join(ARTEFACTS, "failed.png") });
    const there = await page.evaluate(() => document.body.innerText.slice(0, 4000));
    throw new Error(`${what}: ${error.message}\nthe page shows:\n${there}\nthe server said:\n${said.slice(-3000)}`);
  }
}

const shot = (name) => page.screenshot({ path: join(ARTEFACTS, `${name}.png`) });
const idle = () =>
  until(() => document.querySelector(".jp-Notebook-ExecutionIndicator")?.dataset.status === "idle", "the kernel does not become idle");

before(async () => {
  mkdirSync(ARTEFACTS, { recursive: true });
  const port = await freePort();
  await lab(port);
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
  // High enough for all cells of the lesson: JupyterLab leaves out of the page what is far from the view.
  page = await browser.newPage({ viewport: { width: 1300, height: 7000 } });
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
  await page.goto(`${address}/lab/tree/01_concurrency.ipynb?token=${TOKEN}`);
  await see(".jp-Notebook .jp-CodeCell", "a code cell of lesson 01");
  await see(".jp-OutputArea-output svg[role=img]", "a picture that nobody has run yet");
  await see(".jp-NotebookPanel-toolbar >> text=Rust (Threadbook)", "the name of the kernel");
  await idle();
  await shot("first-view");
});

test("all cells run by keyboard, and only those are red that say so", async () => {
  const cells = await page.locator(".jp-Notebook .jp-Cell").count();
  assert.ok(cells > 10, `the whole lesson is in the page, not ${cells} cells`);
  await page.locator(".jp-Notebook .jp-Cell").first().click();
  await page.keyboard.press("Escape");
  // What was shipped goes away first, so that what is seen afterwards is what this kernel made.
  await page.locator("#jp-MainMenu >> text=Edit").click();
  await page.locator('.lm-Menu-item:has-text("Clear Outputs of All Cells")').click();
  await until(() => !document.querySelector(".jp-OutputArea-output svg[role=img]"), "the shipped outputs go away");
  await page.locator(".jp-Notebook .jp-Cell").first().click();
  await page.keyboard.press("Escape");
  for (let cell = 0; cell < cells; cell += 1) {
    await page.keyboard.press("Shift+Enter");
  }
  await until(
    () => {
      // The red cell is the last but the exercise; before it there were all that draw.
      const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")].map((prompt) => prompt.textContent);
      const red = document.querySelector('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"], .jp-RenderedText[data-mime-type="application/vnd.jupyter.error"], .jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]');
      return red !== null && !prompts.some((prompt) => prompt.includes("*"));
    },
    "cells are still waiting",
  );
  await idle();
  const pictures = await page.locator(".jp-OutputArea-output svg[role=img]").count();
  assert.ok(pictures >= 3, `the cells of lesson 01 that start threads show pictures; ${pictures} are there`);
  const red = await page.evaluate(() =>
    [...document.querySelectorAll(".jp-CodeCell")]
      .filter((cell) => cell.querySelector('.jp-RenderedText[data-mime-type="application/vnd.jupyter.error"], .jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]'))
      .map((cell) => cell.innerText),
  );
  // One shows what the compiler refuses; the other is the check of the exercise, which nobody has solved here.
  for (const cell of red) {
    assert.match(cell, /E0499|must|met|before/, `a cell is red that should not be:\n${cell}`);
  }
  assert.ok(red.length >= 1 && red.length <= 2, `one or two cells are red on purpose, not ${red.length}`);
  await shot("after-run-all");
  await page.locator(".jp-OutputArea-output:has(svg[role=img])").nth(0).screenshot({ path: join(ARTEFACTS, "timeline.png") });
});

test("a cell is changed and run again, and its new output and picture are there", async () => {
  const index = await page.evaluate(() =>
    [...document.querySelectorAll(".jp-Notebook .jp-Cell")].findIndex((cell) => cell.innerText.includes('s.spawn_named("ada", || bake("rye"))')),
  );
  assert.ok(index >= 0, "the cell with two bakers is there");
  const cell = page.locator(".jp-Notebook .jp-Cell").nth(index);
  await cell.locator(".cm-content").click();
  await page.keyboard.press("Control+A");
  await page.keyboard.insertText('scope(|s| { s.spawn_named("linus", || bake("spelt")); });');
  await page.keyboard.press("Control+Enter");
  await until(
    (at) => {
      const changed = document.querySelectorAll(".jp-Notebook .jp-Cell")[at];
      return changed.querySelector(".jp-OutputArea")?.innerText.includes("spelt is ready") && changed.querySelector('.jp-OutputArea-output [data-t="linus"]') !== null;
    },
    "the changed cell shows what it printed and drew",
    index,
  );
  await idle();
  assert.equal(await cell.locator('[data-mime-type="application/vnd.jupyter.error"]').count(), 0);
  assert.equal(await cell.locator(".jp-OutputArea-output svg[role=img]").count(), 1, "one picture, in the place of the old one");
  await shot("changed-cell");
});

test("the launcher shows the kernel with its logo", async () => {
  await page.goto(`${address}/lab?reset&token=${TOKEN}`);
  const card = await see('.jp-LauncherCard[title*="Rust (Threadbook)"]', "the kernel's card in the launcher");
  const logo = card.locator("img");
  await logo.waitFor({ timeout: DEADLINE });
  await until(() => document.querySelector('.jp-LauncherCard[title*="Rust (Threadbook)"] img')?.naturalWidth > 0, "the logo is loaded");
  await shot("launcher");
});
