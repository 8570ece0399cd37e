import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { parseSync, Visitor } from 'oxc-parser';

/*
 * Holds the layout: imports point down only, also those of types alone; files don't import in circles; the folders that
 * decide have no I/O and no clock. (dependency-cruiser would do this, but needs TypeScript's old JavaScript API.)
 */

/** From the bottom up. A file may import from its own folder and from lower layers. */
const LAYERS = [
  ['src/message'],
  [
    'src/channel',
    'src/content',
    'src/routing',
    'src/delivery',
    'src/billing',
    'src/access',
    'src/owner',
    'src/overview',
  ],
  ['routes', 'src/ingress', 'src/delivery/targets', 'src/storage', 'src/broker', 'src/observe', 'src/config'],
  ['src/app'],
  ['src/main'],
  ['src/cli'],
];
const MESSAGE = 0;
const DOMAIN = 1;
const ADAPTERS = 2;

/** What the domain may not use: sockets, files, processes, servers and databases. */
const IO =
  /^(node:(net|tls|http|https|http2|dgram|dns|fs|child_process|worker_threads|cluster)(\/.*)?|pg|amqplib|express|nodemailer|smtp-server)$/;
/** Content parses in children of its own, each with a watchdog, and hands them over files. */
const CONTENT_MAY = /^node:(child_process|worker_threads|fs)(\/.*)?$/;

/** Where an adapter may import another one all the same. */
const ALLOWED = [
  // The door of an HTTP ingress is a route.
  { from: 'routes', to: 'src/ingress' },
  // A call of the API is mostly one query; see docs/decisions/0013-routes-ask-storage.md.
  { from: 'routes', to: 'src/storage' },
];

/** @type {string[]} */
const complaints = [];
const files = ['src', 'routes'].flatMap((directory) =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(directory, name)),
);
/** @type {Map<string, string[]>} */
const imports = new Map();
for (const file of files) check(file);
for (const circle of circles()) complaints.push(`imports go in a circle: ${circle.join(' → ')}`);
for (const complaint of complaints) process.stderr.write(`${complaint}\n`);
process.stdout.write(`layers: ${files.length} files, ${complaints.length} complaints\n`);
process.exitCode = complaints.length > 0 ? 1 : 0;

/** @param {string} file */
function check(file) {
  const text = readFileSync(file, 'utf8');
  const { program, module, errors } = parseSync(file, text);
  if (errors.length > 0) complaints.push(`${file}: ${errors[0]?.message}`);
  const names = importedNames(program, module);
  imports.set(
    file,
    names.filter((name) => name.startsWith('.')).map((name) => resolve(file, name)),
  );
  for (const name of new Set(names)) {
    const complaint = name.startsWith('.') ? checkInside(file, resolve(file, name)) : checkOutside(file, name);
    if (complaint) complaints.push(`${file} imports ${name}: ${complaint}`);
  }
  if (layerOf(file).rank <= DOMAIN) complaints.push(...clocks(file, text, program));
}

/**
 * Every module a file names, however it does it.
 *
 * @param {import('oxc-parser').Program} program
 * @param {import('oxc-parser').EcmaScriptModule} module
 * @returns {string[]}
 */
function importedNames(program, module) {
  const names = [
    ...module.staticImports.map((one) => one.moduleRequest.value),
    ...module.staticExports.flatMap((one) => one.entries.flatMap((entry) => entry.moduleRequest?.value ?? [])),
  ];
  new Visitor({
    ImportExpression: (node) => {
      if (node.source.type === 'Literal') names.push(String(node.source.value));
    },
    TSImportType: (node) => {
      names.push(node.source.value);
    },
  }).visit(program);
  return names;
}

/**
 * @param {string} file
 * @param {string} name
 */
function resolve(file, name) {
  return normalize(join(dirname(file), name)).replace(/\.js$/, '.ts');
}

/**
 * The layer of a file, and the part of it: the folder of the longest name that it is in; a layer above all for others.
 *
 * @param {string} file
 * @returns {{ rank: number, folder: string }}
 */
function layerOf(file) {
  const all = LAYERS.flatMap((folders, rank) => folders.map((folder) => ({ rank, folder })));
  const found = all
    .filter(({ folder }) => file === `${folder}.ts` || file.startsWith(`${folder}/`))
    .sort((a, b) => b.folder.length - a.folder.length)[0];
  return found ?? { rank: LAYERS.length, folder: dirname(file) };
}

/**
 * @param {string} file
 * @param {string} target
 */
function checkInside(file, target) {
  const from = layerOf(file);
  const to = layerOf(target);
  if (to.rank === LAYERS.length) return `${to.folder} is in no layer; name it in bin/check-layers.mjs if it should be`;
  if (to.rank > from.rank) return `imports point down only, and ${to.folder} is above ${from.folder}`;
  if (from.rank === ADAPTERS && to.rank === ADAPTERS && from.folder !== to.folder) {
    if (ALLOWED.some((one) => one.from === from.folder && one.to === to.folder)) return undefined;
    return to.folder === 'src/config' ? 'only app and main see the configuration' : "adapters don't import one another";
  }
  return undefined;
}

/**
 * @param {string} file
 * @param {string} name
 */
function checkOutside(file, name) {
  const { rank, folder } = layerOf(file);
  if (rank === MESSAGE) return 'the words of the project depend on nothing';
  if (rank !== DOMAIN || !IO.test(name)) return undefined;
  return folder === 'src/content' && CONTENT_MAY.test(name)
    ? undefined
    : `${folder} decides, and has no I/O of its own`;
}

/**
 * @param {string} file
 * @param {string} text
 * @param {import('oxc-parser').Program} program
 */
function clocks(file, text, program) {
  /** @type {string[]} */
  const found = [];
  /** @param {{ start: number, end: number }} node */
  const complain = (node) => {
    const line = text.slice(0, node.start).split('\n').length;
    found.push(`${file}:${line} ${text.slice(node.start, node.end)}: time and chance are passed in`);
  };
  new Visitor({
    CallExpression: (node) => {
      const called = text.slice(node.callee.start, node.callee.end);
      if (['Date.now', 'performance.now', 'Math.random'].includes(called)) complain(node);
    },
    NewExpression: (node) => {
      if (text.slice(node.callee.start, node.callee.end) === 'Date' && node.arguments.length === 0) complain(node);
    },
  }).visit(program);
  return found;
}

/** One circle for each file that closes one. */
function circles() {
  /** @type {string[][]} */
  const found = [];
  /** @type {Map<string, 'open' | 'done'>} */
  const state = new Map();
  /** @param {string} file @param {string[]} path */
  const visit = (file, path) => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      found.push([...path.slice(path.indexOf(file)), file]);
      return;
    }
    state.set(file, 'open');
    for (const next of imports.get(file) ?? []) visit(next, [...path, file]);
    state.set(file, 'done');
  };
  for (const file of imports.keys()) visit(file, []);
  return found;
}
