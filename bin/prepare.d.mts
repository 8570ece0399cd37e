export function install(): void;
export function build(): void;
