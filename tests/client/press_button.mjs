// Runs examples/RetrainButton.jsx against a service, in a React of sixty lines: node has neither React nor JSX.
//
//   node press_button.mjs FILE URL KEY ORIGIN cancel|wait     prints a JSON line of what is shown after each change
//
// The compiler knows the JSX that one file is written in: elements, attributes, texts and expressions.

import { readFileSync, writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [file, url, apiKey, origin, wish] = process.argv.slice(2);

/** JavaScript from `at` to the brace that closes it, its JSX compiled: [text, index after it]. */
function script(source, at) {
  let out = "";
  for (let depth = 0; at < source.length; ) {
    const rest = source.slice(at);
    const plain = /^(\/\/.*|\/\*[^]*?\*\/|"(\\.|[^"\\])*"|'(\\.|[^'\\])*')/.exec(rest);
    if (plain) {
      out += plain[0];
      at += plain[0].length;
    } else if (rest[0] === "`") {
      out += "`";
      for (at++; source[at] !== "`"; ) {
        if (source.startsWith("${", at)) {
          const [inner, after] = script(source, at + 2);
          out += "${" + inner + "}";
          at = after;
        } else out += source[at++];
      }
      out += "`";
      at++;
    } else if (/^<[A-Za-z>]/.test(rest) && /(^|[(,=?:&|{[>]|\breturn)\s*$/.test(out)) {
      const [made, after] = element(source, at);
      out += made;
      at = after;
    } else {
      if (rest[0] === "}" && depth-- === 0) return [out, at + 1];
      if (rest[0] === "{") depth++;
      out += rest[0];
      at++;
    }
  }
  return [out, at];
}

/** The element at `at` as a call: [text, index after it]. */
function element(source, at) {
  const [opening, tag] = /^<([\w.]*)/.exec(source.slice(at));
  const props = [], children = [];
  for (at += opening.length; ; ) {
    const rest = source.slice(at);
    const attribute = /^\s*([\w-]+)(=("[^"]*"|\{))?/.exec(rest), end = /^\s*(\/?)>/.exec(rest);
    if (end) {
      at += end[0].length;
      if (end[1]) return [call(tag, props, children), at];
      break;
    }
    if (!attribute) throw new SyntaxError(`neither an attribute nor an end: ${rest.slice(0, 40)}`);
    at += attribute[0].length;
    let value = attribute[3] ?? "true";
    if (value === "{") [value, at] = script(source, at);
    props.push(`${JSON.stringify(attribute[1])}: ${value}`);
  }
  for (;;) {
    const closing = `</${tag}>`;
    if (source.startsWith(closing, at)) return [call(tag, props, children), at + closing.length];
    if (source.startsWith("</", at) || at >= source.length) throw new SyntaxError(`<${tag}> is not closed`);
    let child;
    if (source[at] === "{") [child, at] = script(source, at + 1);
    else if (source[at] === "<") [child, at] = element(source, at);
    else {
      const [text] = /^[^<{]*/.exec(source.slice(at));
      child = text.trim() && JSON.stringify(text.trim());
      at += text.length;
    }
    if (child) children.push(child);
  }
}

const call = (tag, props, children) => `h(${[JSON.stringify(tag), `{${props}}`, ...children].join(", ")})`;

const REACT = `
const cells = [];
let next = 0, draw = () => {};
const cell = first => (cells[next] ??= first(), cells[next++]);
export const h = (tag, props, ...children) => ({ tag, props, children });
export function useState(first) {
  const own = cell(() => ({ value: first }));
  return [own.value, value => { own.value = value; draw(); }];
}
export const useRef = first => cell(() => ({ current: first }));
export const useEffect = effect => { const own = cell(() => ({})); own.end ??= effect(); };
export function mount(component, props, shown) {
  draw = () => { next = 0; shown(component(props)); };
  draw();
  return () => cells.forEach(own => own.end?.());
}
`;

const folder = mkdtempSync(join(tmpdir(), "button-"));
writeFileSync(join(folder, "react.mjs"), REACT);
const [made] = script(readFileSync(file, "utf8"), 0);
writeFileSync(join(folder, "button.mjs"), `import { h } from "react";\n${made}`.replaceAll('"react"', '"./react.mjs"'));
const { mount } = await import(pathToFileURL(join(folder, "react.mjs")));
const { default: RetrainButton } = await import(pathToFileURL(join(folder, "button.mjs")));
rmSync(folder, { recursive: true });

// A browser says where a page comes from, and lets it read only what the service allows for that origin.
const send = globalThis.fetch;
globalThis.fetch = async (to, options) => {
  const answer = await send(to, { ...options, headers: { ...options.headers, Origin: origin } });
  if (answer.headers.get("access-control-allow-origin") !== origin) throw new TypeError("Failed to fetch");
  return answer;
};

const all = node => (node?.tag ? [node, ...node.children.flatMap(all)] : []);
const text = node => (node?.tag ? node.children.map(text).join("") : [null, undefined, false].includes(node) ? "" : String(node));
let nodes = [], last = "", pressed = false;
const find = label => nodes.find(node => node.tag === "button" && text(node) === label);
const unmount = mount(RetrainButton, { url, apiKey, models: ["lightgbm"], force: true, poll: 20, onEnd: () => setTimeout(() => unmount()) }, drawn => {
  nodes = all(drawn);
  const bar = nodes.find(node => node.tag === "progress");
  const line = JSON.stringify({
    buttons: nodes.filter(node => node.tag === "button").map(text),
    progress: bar ? [bar.props.value, bar.props.max] : null,
    said: nodes.filter(node => node.tag === "p").map(text),
  });
  if (line !== last) console.log((last = line));
  if (wish === "cancel" && bar && !pressed) {
    pressed = true;
    setTimeout(() => find("Cancel").props.onClick());
  }
});
find("Retrain").props.onClick();
