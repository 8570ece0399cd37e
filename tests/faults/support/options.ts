/*
 * What a run is told by its environment (tests/faults/run.mjs sets it from the command line):
 * WAYBILL_FAULTS=long: everything, instead of the short form that runs with `npm test`.
 * WAYBILL_SEED: what a run chooses by chance is chosen alike. Without it, a new one.
 * WAYBILL_SCENARIO: only scenarios whose name holds this.
 * WAYBILL_KILLS: how many random kills, instead of 200.
 */
export const LONG = process.env.WAYBILL_FAULTS === 'long';
export const SEED = Number(process.env.WAYBILL_SEED || Math.floor(Math.random() * 2 ** 31));
export const ONLY = process.env.WAYBILL_SCENARIO ?? '';
export const KILLS = Number(process.env.WAYBILL_KILLS || 200);
