/** Who chose, and why; the same shape whether rules or a person did. */
export type Decision =
  | {
      readonly by: 'rules';
      /** Version of the rule set. */
      readonly set: number;
      /** Names of the rules that matched, in priority order; empty when none did. */
      readonly rules: readonly string[];
      readonly outcome: Outcome;
    }
  | {
      readonly by: 'person';
      /** Version number of the message's decision row. */
      readonly version: number;
      readonly who: string;
      readonly outcome: Outcome;
    };

/** What is to become of a message. */
export type Outcome =
  | { readonly do: 'deliver'; readonly targets: readonly string[] }
  | { readonly do: 'close'; readonly reason: string }
  | { readonly do: 'wait' };
