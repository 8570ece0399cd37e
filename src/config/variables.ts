import { FileUnreadable, type ReadFile, readText } from './files.js';

/** Far beyond any key or certificate chain. */
const LARGEST_VARIABLE_FILE = 64 * 1024;

export type Looked =
  | { readonly found: string }
  | { readonly missing: true }
  | { readonly problem: { readonly code: 'variable_twice' | 'file_unreadable'; readonly message: string } };

/**
 * Environment variables. NAME is its value, or the text of the file that NAME_FILE names, without the line end at
 * its end. One that is empty counts as not set, as compose files and shells leave them.
 */
export class Variables {
  readonly #used = new Set<string>();

  constructor(
    readonly env: Readonly<Record<string, string | undefined>>,
    private readonly readFile: ReadFile,
  ) {}

  look(name: string): Looked {
    this.#used.add(name).add(`${name}_FILE`);
    const value = this.env[name];
    const file = this.env[`${name}_FILE`];
    if (value && file) {
      const message = `both ${name} and ${name}_FILE are set; keep one of them`;
      return { problem: { code: 'variable_twice', message } };
    }
    if (file) return this.#fromFile(name, file);
    return value ? { found: value } : { missing: true };
  }

  /** Whether anything asked for this variable; one that nobody asked for may be a slip. */
  used(name: string): boolean {
    return this.#used.has(name);
  }

  #fromFile(name: string, file: string): Looked {
    try {
      return { found: readText(this.readFile, file, LARGEST_VARIABLE_FILE).replace(/\r?\n$/, '') };
    } catch (error) {
      if (!(error instanceof FileUnreadable)) throw error;
      return {
        problem: { code: 'file_unreadable', message: `the file ${file} that ${name}_FILE names ${error.message}` },
      };
    }
  }
}

export interface Interpolated {
  readonly text: string;
  /** Names it took values or defaults for; empty when the text stands as it was. */
  readonly names: readonly string[];
  readonly problems: readonly {
    readonly code: 'variable_missing' | 'variable_malformed' | 'variable_twice' | 'file_unreadable';
    readonly message: string;
  }[];
}

/** `$${` is a literal `${`; `${NAME}` must be set; `${NAME:-text}` is text where it is not. */
const REFERENCE = /\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{/g;

/** Puts variables into a text. What they hold is taken as it is: neither YAML nor further references are read in it. */
export function interpolate(text: string, variables: Variables): Interpolated {
  const names: string[] = [];
  const problems: Interpolated['problems'][number][] = [];
  const replaced = text.replace(REFERENCE, (whole, name: string | undefined, otherwise: string | undefined) => {
    if (whole === '$${') return '${';
    if (name === undefined) {
      problems.push({
        code: 'variable_malformed',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: this is the syntax that is meant
        message: 'write ${NAME} or ${NAME:-default}, or $${ for a plain ${',
      });
      return '';
    }
    names.push(name);
    const looked = variables.look(name);
    if ('found' in looked) return looked.found;
    if ('problem' in looked) problems.push(looked.problem);
    else if (otherwise !== undefined) return otherwise;
    else
      problems.push({
        code: 'variable_missing',
        message: `the environment variable ${name} (or ${name}_FILE) is not set`,
      });
    return '';
  });
  return { text: replaced, names, problems };
}
