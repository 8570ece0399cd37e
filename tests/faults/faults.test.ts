import { killScenarios } from './kills.js';
import { COMMITS, pointScenarios, REPEATED, SHORT_TOUR, TAKEOVERS } from './points.js';
import { play } from './support/scenario.js';
import { SURROUNDINGS } from './surroundings.js';

play([SHORT_TOUR, ...pointScenarios(), ...COMMITS, REPEATED, ...TAKEOVERS, ...killScenarios(), ...SURROUNDINGS]);
