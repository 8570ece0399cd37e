import { FileUnreadable } from '../../src/config/files.js';
import { type Loaded, loadSettings } from '../../src/config/load.js';
import { formatProblem, type Problem } from '../../src/config/problem.js';

export interface Given {
  readonly env?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
}

export const FILE = 'conf/waybill.yaml';

/** Loads a configuration whose file holds `yaml`. */
export function load(yaml: string, given: Given = {}): Loaded {
  const files: Readonly<Record<string, string | Uint8Array>> = { [FILE]: yaml, ...given.files };
  return loadSettings({
    env: { WAYBILL_CONFIG: FILE, ...given.env },
    readFile: (path, maxBytes) => {
      const content = files[path];
      if (content === undefined) throw new FileUnreadable('is not there');
      const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
      if (bytes.length > maxBytes) throw new FileUnreadable(`is larger than ${maxBytes} bytes`);
      return bytes;
    },
  });
}

/** What is reported, as people read it. */
export function said(loaded: Loaded): string[] {
  return problemsOf(loaded).map(formatProblem);
}

export function problemsOf(loaded: Loaded): readonly Problem[] {
  return loaded.ok ? loaded.warnings : loaded.problems;
}

export function loaded(result: Loaded): Extract<Loaded, { ok: true }> {
  if (!result.ok) throw new Error(said(result).join('\n'));
  return result;
}
