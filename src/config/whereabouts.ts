import type { Complaint } from './complaint.js';
import type { FilePlace, Problem, ProblemCode } from './problem.js';
import { type Path, type Places, pathText } from './yaml.js';

/** Says where a value came from: a place in the file, or the environment variable that overruled it. */
export class Whereabouts {
  constructor(
    private readonly places: Places,
    /** By path in words: the variable that the value is. */
    private readonly overrides: ReadonlyMap<string, string>,
  ) {}

  place(path: Path): FilePlace {
    return this.places.value(path);
  }

  keyPlace(path: Path): FilePlace {
    return this.places.key(path);
  }

  /** The variable that the value is or is part of, as opposed to one that is put into it. */
  override(path: Path): string | undefined {
    for (let length = path.length; length > 0; length -= 1) {
      const variable = this.overrides.get(pathText(path.slice(0, length)));
      if (variable !== undefined) return variable;
    }
    return undefined;
  }

  isInFile(path: Path): boolean {
    return this.override(path) === undefined && this.places.has(path);
  }

  /** Text from a variable may be meant as a number: nothing in the environment is one. */
  isFromVariable(path: Path): boolean {
    return this.override(path) !== undefined || this.places.variable(path) !== null;
  }

  problem(path: Path, code: ProblemCode, message: string, severity: Problem['severity'] = 'error'): Problem {
    const variable = this.override(path);
    if (variable !== undefined) return { severity, code, place: null, path: variable, message };
    return { severity, code, place: this.places.value(path), path: pathText(path), message };
  }

  /** The complaint as a problem with its place. */
  complaint({ path, code, message, aboutKey, suggestion }: Complaint): Problem {
    const interpolated = this.places.variable(path);
    const words = interpolated === null || aboutKey ? message : `${message} (it comes from ${interpolated})`;
    const problem = this.problem(path, code, words);
    const placed = aboutKey && problem.place ? { ...problem, place: this.places.key(path) } : problem;
    return suggestion === undefined ? placed : { ...placed, suggestion };
  }
}
