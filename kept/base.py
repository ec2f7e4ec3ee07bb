"""The stages of the base, until they are in recipes/policies.py."""
import sys, torch, os
from pathlib import Path
torch.set_num_threads(1)
from r3lab.core.arms import FORCED
from r3lab.models import tiny
from r3lab.train.devices import Processes
from r3lab.recipes.lessons import Stage, vocabulary
from r3lab.recipes.facts import words
from r3lab.recipes.strips import Strips
from r3lab.recipes.world_lessons import WorldLessons, WorldStage
from r3lab.recipes import stages, policies
from r3lab.recipes.base import Heads
E=(("badges",.15),("documents",.3),("charts",.3),("trails",.25))
CROPS=(("documents",.6),("charts",.6),("trails",.6))
FEW=(("documents",.2),("charts",.2),("trails",.6))
hands=("colours","wild hands")
L=Stage("letters",5000,64,(1,1),text=False,learning_rate=1.5e-3,final_fraction=0.1,seed=21)
W=WorldStage("warm-up",int(os.environ.get("WARM","4000")),20,(1,5),text=False,learning_rate=1.2e-3,final_fraction=0.1,seed=22,windows=2,vary=hands,shares=E,readings=2)
G1=WorldStage("grounding-1",700,20,(1,2),True,3e-4,0.3,final_fraction=1.0,seed=23,windows=1,vary=hands,pointing=.5,text_times=10.,shares=E,crops=CROPS,readings=1,glances=1)
G2=WorldStage("grounding-2",3000,20,(1,5),True,3e-4,0.1,final_fraction=.1,seed=24,windows=1,statements=("name","crop","size","beside","refer"),vary=hands,pointing=.3,text_times=10.,shares=E,crops=CROPS,readings=2,glances=2,sums=2)
# Whole answers, a third of them begun with words that force an arm; heads at a small weight, the rate falling to nothing.
A=WorldStage("wholes",6000,20,(1,5),True,3e-4,0.04,final_fraction=.02,seed=25,windows=1,statements=G2.statements,vary=hands,pointing=.3,text_times=10.,shares=E,crops=FEW,readings=2,glances=2,sums=2,matches=2,wholes=True,forced=.4)
ALL=(L,W,G1,G2,A)
def lessons(policy, stage, start=0, part=(0,1)):
    return (WorldLessons if isinstance(stage, WorldStage) else Strips)(policy, stage, start, part)
if __name__=="__main__":
    pr=Processes.start()
    corpus=[*vocabulary(),*words(),*FORCED.values()]
    p=tiny.widened(tiny.create(corpus,0),corpus,policies.CROP_TOKENS)
    policies.prepare(p); torch.manual_seed(0)
    n=int(sys.argv[2]); 
    stages.run_stages(p,Heads(128,worlds=True),ALL[:n],Path(sys.argv[1]),0,lessons,pr)
