import type { BillingDefinition, BillingKind } from '../billing/definitions.js';
import type { SourceDefinition } from '../channel/source.js';
import type { TargetDefinition } from '../delivery/target.js';
import type { TargetMention } from './parse.js';

/** Where something stands in the file that names it; both numbers count from 1. */
export interface FilePlace {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface NamedDefinition<D> {
  readonly name: string;
  readonly definition: D;
  readonly at: FilePlace;
}

/** A meter, rate card or subscription of the file. */
export interface NamedBilling extends NamedDefinition<BillingDefinition> {
  readonly kind: BillingKind;
}

/** Everything the configuration names for one tenant. */
export interface TenantDefinitions {
  readonly tenant: string;
  /** What the file asks for; null where it leaves that to the setting. */
  readonly channels: { readonly count: number; readonly at: FilePlace } | null;
  readonly sources: readonly NamedDefinition<SourceDefinition>[];
  readonly targets: readonly NamedDefinition<TargetDefinition>[];
  readonly billing: readonly NamedBilling[];
  /** Null where the file names no rules: those set over the API stay. */
  readonly rules: { readonly text: string; readonly mentions: readonly TargetMention[]; readonly file: string } | null;
}
