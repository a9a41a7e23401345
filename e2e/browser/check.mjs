// Looks at pages as people meet them: Debian's Chromium, 390 and 1280 px wide, light and dark. Fails on what axe-core
// finds, on errors in the console, on answers from elsewhere, and on sideways scroll; leaves screenshots.
//
// node check.mjs [--out DIR] [--header 'name: value']... URL...
//
// The packages come from this folder's node_modules, or from where e2e/tools/install puts them.

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const WIDTHS = [390, 1280];
const SCHEMES = ["light", "dark"];
const CHROMIUM_FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

const { values: options, positionals: urls } = parseArgs({
  allowPositionals: true,
  options: { out: { type: "string" }, header: { type: "string", multiple: true, default: [] } },
});
if (urls.length === 0) {
  console.error("usage: node check.mjs [--out DIR] [--header 'name: value']... URL...");
  process.exit(2);
}

const { chromium } = load("playwright-core");
const { AxeBuilder } = load("@axe-core/playwright");
const headers = Object.fromEntries(options.header.map((line) => line.split(/:\s*(.*)/s).slice(0, 2)));
if (options.out) await mkdir(options.out, { recursive: true });

const profile = await mkdtemp(join(tmpdir(), "tollgate-browser-"));
const problems = [];
try {
  for (const scheme of SCHEMES) {
    // A fresh folder a run: nothing of one leaks into the next.
    const context = await chromium.launchPersistentContext(join(profile, scheme), {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: CHROMIUM_FLAGS,
      colorScheme: scheme,
      extraHTTPHeaders: headers,
      locale: "en-GB",
      timezoneId: "Europe/Berlin",
    });
    for (const url of urls) for (const width of WIDTHS) await look(context, url, width, scheme);
    await context.close();
  }
} finally {
  await rm(profile, { recursive: true, force: true });
}

for (const problem of problems) console.error(problem);
console.log(`${urls.length} page(s), ${WIDTHS.join(" and ")} px, ${SCHEMES.join(" and ")}: ${problems.length} problem(s)`);
process.exit(problems.length === 0 ? 0 : 1);

async function look(context, url, width, scheme) {
  const page = await context.newPage();
  const where = `${url} at ${width} px, ${scheme}`;
  const found = (what) => problems.push(`${where}: ${what}`);
  page.on("console", (message) => {
    // The document's own status is the page's business (401 at the gate); what it loads must be there.
    if (message.type() === "error" && message.location().url !== page.url()) found(`console: ${message.text()}`);
    else if (message.type() === "error" && !/status of 4\d\d/.test(message.text())) found(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => found(`script: ${error.message}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) found(`asks elsewhere: ${request.url()}`);
  });
  await page.setViewportSize({ width, height: 900 });
  await page.goto(url, { waitUntil: "load" });
  // Folded parts count too.
  await page.evaluate(() => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
  const axe = await new AxeBuilder({ page }).analyze();
  for (const violation of axe.violations) {
    const nodes = violation.nodes.slice(0, 3).map((node) => `${node.target.join(" ")} ${node.failureSummary ?? ""}`);
    found(`axe ${violation.id} (${violation.impact}): ${violation.help}\n    ${nodes.join("\n    ").replaceAll("\n", "\n    ")}`);
  }
  const wide = await page.evaluate(() => {
    const root = document.documentElement;
    if (root.scrollWidth <= root.clientWidth) return null;
    const over = [...document.querySelectorAll("body *")].find((e) => e.getBoundingClientRect().right > root.clientWidth + 1);
    return `${root.scrollWidth} px wide${over ? `, first by <${over.tagName.toLowerCase()} class="${over.className}">` : ""}`;
  });
  if (wide) found(`scrolls sideways: ${wide}`);
  if (options.out) {
    await page.evaluate(() => document.querySelectorAll("details:not(.part):not(.more)").forEach((d) => { d.open = false; }));
    const name = new URL(url).pathname.replace(/[^a-z0-9]+/gi, "-").replace(/^-|-$/g, "") || "root";
    const number = urls.indexOf(url) + 1;
    await page.screenshot({ path: join(options.out, `${number}-${name}-${width}-${scheme}.png`), fullPage: true });
  }
  await page.close();
}

function load(name) {
  const cache = process.env.TOLLGATE_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "tollgate");
  const folders = [dirname(fileURLToPath(import.meta.url)), join(cache, "browser")];
  for (const folder of folders) {
    try {
      return createRequire(join(folder, "package.json"))(name);
    } catch (error) {
      if (error.code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  console.error(`${name} is in none of ${folders.join(", ")}: run e2e/tools/install browser`);
  process.exit(2);
}
