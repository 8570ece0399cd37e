import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';

/** Debian asks this program whether a service may start. */
const POLICY = '/usr/sbin/policy-rc.d';

/**
 * Installs a Debian package, for root on Debian alone, without letting it start a service.
 * False when this is neither; throws when the installation fails.
 *
 * @param {string} name
 * @param {(line: string) => void} say
 * @returns {boolean}
 */
export function installDebianPackage(name, say) {
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) return false;
  say(`${name} is not installed; installing Debian's package with apt-get …`);
  withoutServices(() => {
    apt(['update']);
    apt(['install', '--yes', '--no-install-recommends', name]);
  });
  // Not now, and not at the next boot either.
  spawnSync('systemctl', ['disable', name], { stdio: 'ignore' });
  say(`${name} is installed.`);
  return true;
}

/** @param {() => void} install */
function withoutServices(install) {
  const ours = !existsSync(POLICY);
  if (ours) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    install();
  } finally {
    if (ours) rmSync(POLICY, { force: true });
  }
}

/** @param {string[]} args */
function apt(args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const { status, stderr, error } = spawnSync('apt-get', ['-q', ...args], { env, encoding: 'utf8' });
  if (status !== 0) throw new Error(`apt-get ${args.join(' ')} failed: ${error?.message ?? stderr.trim()}`);
}
