"""What the voice brain expects to be asked. Recognition tries this first, and takes it where it fits the sound."""

from typing import Final

GRAMMAR: Final = """#JSGF V1.0;
grammar domain;
public <said> = <greeting> | <time> | <weather> | <sum> | <story> | <parting> | <small>;
<greeting> = (hello | hi) [there] [can you hear me] | can you hear me | good (morning | afternoon | evening)
    | how are you [today] | how old are you;
<time> = [please] (what time is it [now] | what is the time [now] | tell me the time |
    (can | could) you tell me the time) [please];
<weather> = (what is | what's | how is | how's) the weather [like] [in <city>] [today | tomorrow];
<city> = san francisco | new york | los angeles | paris | london | berlin | tokyo | boston | chicago |
    rome | madrid | vienna | amsterdam | sydney;
<sum> = (what is | what's | how much is) <number> (plus | minus | times | divided by) <number>;
<number> = <unit> | <teen> | <tens> [<unit>] | one hundred | zero;
<unit> = one | two | three | four | five | six | seven | eight | nine;
<teen> = ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen;
<tens> = twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety;
<story> = [please] tell me a ([long] story | joke) [please];
<parting> = [no] (thank you | thanks) [very much | (goodbye | bye)] | goodbye | bye [bye];
<small> = stop | yes | no | who are you | what is your name | what can you do;
"""
"""In JSGF; the weather's cities and the sums' numbers are in it too."""
