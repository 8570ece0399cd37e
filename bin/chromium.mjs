import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { installDebianPackage } from './debian.mjs';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];

/**
 * The path of a Chromium for the tests: an installed one, else Debian's package for root on Debian.
 *
 * @param {{ say: (line: string) => void }} settings
 * @returns {string}
 */
export function findChromium({ say }) {
  const found = installed() ?? (installDebianPackage('chromium', say) ? installed() : undefined);
  if (found) return found;
  throw new Error('The tests need a Chromium: install the package chromium, or put chromium on the PATH.');
}

function installed() {
  const directories = (process.env.PATH ?? '').split(delimiter).concat('/usr/bin');
  return NAMES.flatMap((name) => directories.map((directory) => join(directory, name))).find((path) =>
    existsSync(path),
  );
}
