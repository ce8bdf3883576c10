// Included before everything else in test builds: a step of the channel is a place to die at.
#pragma once

void CorelaneTestStep();
#define CORELANE_STEP() CorelaneTestStep()
