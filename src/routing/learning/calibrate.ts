/** How a sum of weights becomes a probability: 1 / (1 + exp(-(slope × sum + offset))). The slope is never negative. */
export interface Calibration {
  readonly slope: number;
  readonly offset: number;
}

export function sigmoid(x: number): number {
  // Each branch takes the exponential of a negative number, which can't overflow.
  return x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));
}

export function probabilityOf({ slope, offset }: Calibration, sum: number): number {
  return sigmoid(slope * sum + offset);
}

const MOST_STEPS = 100;
const GRADIENT_SMALL = 1e-6;
const LEAST_STEP = 1e-10;
const RIDGE = 1e-12;

/**
 * Platt's scaling: naive Bayes takes words that come together for independent witnesses and is too sure of itself, so what its
 * sums are worth is fitted to how decisions really went. `sums` must come from decisions that were left out of the weights.
 * By Newton's method with the improvements of Lin, Lin and Weng, "A note on Platt's probabilistic outputs for support vector
 * machines", Machine Learning 68 (2007); the answers it aims at are a little inside 0 and 1, which keeps few decisions modest.
 */
export function calibrate(sums: ArrayLike<number>, chosen: ArrayLike<number>): Calibration {
  const n = sums.length;
  let yes = 0;
  for (let i = 0; i < n; i++) yes += chosen[i] as number;
  const no = n - yes;
  const highAim = (yes + 1) / (yes + 2);
  const lowAim = 1 / (no + 2);
  const aim = (i: number) => (chosen[i] === 1 ? highAim : lowAim);
  const lossOf = (slope: number, offset: number) => {
    let loss = 0;
    for (let i = 0; i < n; i++) {
      const x = slope * (sums[i] as number) + offset;
      // -(t ln p + (1 - t) ln (1 - p)), without overflow.
      loss += (x >= 0 ? (1 - aim(i)) * x : -aim(i) * x) + Math.log1p(Math.exp(-Math.abs(x)));
    }
    return loss;
  };

  let slope = 0;
  let offset = Math.log((yes + 1) / (no + 1));
  let loss = lossOf(slope, offset);
  for (let step = 0; step < MOST_STEPS; step++) {
    let [h11, h22, h21, g1, g2] = [RIDGE, RIDGE, 0, 0, 0];
    for (let i = 0; i < n; i++) {
      const sum = sums[i] as number;
      const p = sigmoid(slope * sum + offset);
      const curve = p * (1 - p);
      const off = p - aim(i);
      h11 += sum * sum * curve;
      h21 += sum * curve;
      h22 += curve;
      g1 += sum * off;
      g2 += off;
    }
    if (Math.abs(g1) < GRADIENT_SMALL && Math.abs(g2) < GRADIENT_SMALL) break;
    const determinant = h11 * h22 - h21 * h21;
    const dSlope = -(h22 * g1 - h21 * g2) / determinant;
    const dOffset = -(h11 * g2 - h21 * g1) / determinant;
    const descent = g1 * dSlope + g2 * dOffset;
    let size = 1;
    for (; size >= LEAST_STEP; size /= 2) {
      const tried = lossOf(slope + size * dSlope, offset + size * dOffset);
      if (tried < loss + 0.0001 * size * descent) {
        slope += size * dSlope;
        offset += size * dOffset;
        loss = tried;
        break;
      }
    }
    if (size < LEAST_STEP) break;
  }
  // Sums that tell the wrong way round tell nothing: what is left is how often the target was chosen at all.
  if (!(slope > 0) || !Number.isFinite(offset)) return { slope: 0, offset: Math.log((yes + 1) / (no + 1)) };
  return { slope, offset };
}
