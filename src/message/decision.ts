/** What is to become of a message. */
export type Outcome =
  | { readonly do: 'deliver'; readonly targets: readonly string[] }
  | { readonly do: 'close'; readonly reason: string }
  | { readonly do: 'wait' };
