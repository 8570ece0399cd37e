/** Different features of one learning; further ones are left out. Some 30 MB. */
const MOST_FEATURES = 300_000;

/** Numbers for features while they are learnt from, so that ten thousand messages are held in little memory. */
export class Vocabulary {
  readonly #numbers = new Map<string, number>();
  readonly #features: string[] = [];

  get size(): number {
    return this.#features.length;
  }

  /** A message's features as numbers. */
  number(features: readonly string[]): Uint32Array {
    const numbers = new Uint32Array(features.length);
    let used = 0;
    for (const feature of features) {
      const number = this.#numbers.get(feature) ?? this.#add(feature);
      if (number !== undefined) numbers[used++] = number;
    }
    return numbers.slice(0, used);
  }

  feature(number: number): string {
    return this.#features[number] ?? '';
  }

  #add(feature: string): number | undefined {
    if (this.#features.length >= MOST_FEATURES) return undefined;
    // A copy: V8's substrings keep the whole text that they were cut out of.
    const copy = Buffer.from(feature).toString();
    this.#numbers.set(copy, this.#features.length);
    return this.#features.push(copy) - 1;
  }
}
