// What headless Chromium and axe-core say of a page of `assay check --html`: in two widths, light and dark.
//
// NODE_PATH=FOLDER/node_modules node benchmarks/report_page.cjs CHROMIUM PAGE.html OUT
//
// It needs axe-core and playwright-core of npm in NODE_PATH.  It writes a screenshot of each of the four into the folder
// OUT and prints JSON: for each, the pixels by which the page is wider than the window, and what axe-core found.

const { chromium } = require("playwright-core");
const path = require("path");

async function main([executablePath, file, out]) {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const found = [];
  for (const width of [390, 1280]) {
    for (const scheme of ["light", "dark"]) {
      const page = await browser.newPage({ viewport: { width, height: 844 }, colorScheme: scheme });
      await page.goto("file://" + path.resolve(file));
      await page.screenshot({ path: path.join(out, `${width}-${scheme}.png`), fullPage: true });
      await page.evaluate(() => document.querySelectorAll("details").forEach((part) => (part.open = true)));
      const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      await page.addScriptTag({ path: require.resolve("axe-core/axe.min.js") });
      const { violations } = await page.evaluate(() => window.axe.run());
      const told = violations.map((rule) => `${rule.id}: ${rule.nodes[0].html} (${rule.nodes.length})`);
      found.push({ width, scheme, over, violations: told });
      await page.close();
    }
  }
  await browser.close();
  console.log(JSON.stringify(found));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(String(error));
  process.exit(1);
});
