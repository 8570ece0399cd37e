export function findChromium(settings: { say: (line: string) => void }): string;
