import { notFound } from './problem.js';
import { Problem } from './route.js';

/** Why an edit of any definition was not made, whatever is defined. */
export type EditRefusal =
  | { readonly result: 'not_found' | 'managed_by_file' | 'unstorable' }
  | { readonly result: 'version_mismatch'; readonly version: number | null }
  | { readonly result: 'too_many'; readonly most: number };

/** As a problem. `what`: its kind in words, for example `rate card`. */
export function editRefused(what: string, name: string, not: EditRefusal): Problem {
  switch (not.result) {
    case 'not_found':
      return notFound(what);
    case 'managed_by_file':
      return new Problem(
        409,
        'managed_by_file',
        `The configuration file names the ${what} "${name}": change it there, then \`waybill apply\`.`,
      );
    case 'version_mismatch':
      return new Problem(
        412,
        'version_mismatch',
        `The ${what} "${name}" is not at the version that If-Match names: read it again.`,
        { version: not.version },
      );
    case 'unstorable':
      return new Problem(422, 'unstorable', 'A text in it holds NUL or half of a surrogate pair.');
    case 'too_many':
      return new Problem(409, 'too_many', `A tenant can have ${not.most} of these.`);
    default: {
      const never: never = not;
      return never;
    }
  }
}
