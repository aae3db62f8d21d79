"""The demo source's garments as tables: what each kind is made in, and its parts from back to front.

A kind begins `= NAME: styles / patterns / colours / size centre`; what stands there twice is twice as likely. Where a
table's name follows, that table is drawn, and uses the kind's. `= NAME` alone begins parts that several kinds use. `;`
or a line's end divides parts: `[conditions] verb paint points *copies`.

- Numbers are hundredths of a unit. `20:35` is drawn evenly from that range, anew for every part.
- Points `x,y` are an outline (`!` makes a corner), `x,y,breadth` a line, `x,y,across,down` an ellipse.
- Verbs: `one` draws it as it stands, `both` also mirrored, `half` closes a right half with its mirror image. `arm` and
  `leg` draw `along,breadth` down both arms or legs, whose three joints are where `bone` says.
  `use NAME x,y,across,down` draws another table there. `fit y,breadth,shift` widens and moves later parts by their
  height. `set WORD` makes a condition hold.
- Conditions: styles, patterns and words that must hold, or with `!` must not; a number is a chance in a hundred.
- Paints are cloth unless named; `+14` and `-14` make lighter and darker, alone without covering what is there.
- Copies: how many, and the step from one to the next.
"""

# A garment's paints besides its own two: the colours, or the paints before it, of which it has one.
PAINTS = """main cloth; skin F0D0B8 E0B494 C4926E 8E6244 5C3E2C; hair 201A18 462E20 805834 CEAA6E 787470; lip A65450
dark 2C2A2C; light E0DED8; thread CA924A; metal B0B2B8 CCA658; extra 222226 ECECE8 222C56 3666B2 98BEDC BA262E EAC84C
trim cloth second dark light; lens dark dark second; sole light light dark second"""
TABLES = """
= top; fit -80,86:122,0 -64,88:114,-6:9 -30,88:112,0 50,80:117,-15:13
[coat] fit -80,90:120,0 -64,94:118,0 50,88:125,30:65; [42] set worn; use body
= lower; fit 0,88:112,0 60,92:108,0; [45] set worn; set lower; use body
= body; [!worn] bone arm 43,-64 50:84,-28:-12 50:116,8:38; [worn] bone arm 43,-64 48:62,-16 42:76,20:34
[worn 25] bone arm 43,-64 66:74,-18 40:58,12:24; bone leg 18,28 18:29,105 18:40,183; [worn] use person
[!worn !lower 25] one metal 0,-72,2 0,-100,2 6,-106,2 2,-113,2 -5,-108,2
= person; leg skin 0,34 50,24 98,15; [lower] leg dark 97,19 106,24; [!lower !bare 80] leg extra 0,36 50,27:32 96,20:34
use head 0,-110,19,19; half skin 0,5 31,10 35,32 0,60; [!lower !bare] half extra 0,5 31,10 35,32 0,60
half skin 10,-86 34,-72 38,-20 31,20 0,22; arm skin 0,16 50,14 100,10 116,12
[lower] half extra 0,-84 42,-72 40,-30 31,10 36,28 0,30; [lower 60] arm extra 0,20 90,15
= head; [50] one hair 0,-100,180 0,0,270 0,120:300,230; one skin-16 0,0,100 0,230,115; one hair 0,-30,108,120
one skin 0,0,90,118; half hair 0,-140 70,-115 96,-60 64,-76 0,-70; both dark 38,-5,13,7; one lip 0,55,26,8
= trunk; half 0,-76 18,-80! 47,-69! 46,-62 42,-34 39,5 42,47:51! 20,49:54 0,50; use folds
= folds; both -20 3:32,-45:5,1:4 3:32,0:45,1:4 *1:3,-4,0; one +12 -30:30,-45:5,1:4 -30:30,0:45,1:4 *1:3,-3,0
= neck; half main-45 0,-84 17,-82! 6:14,-70 0,-60:-55!; [worn] half skin-6 0,-84 17,-82! 6:14,-70 0,-60:-55!
= pleats; both -24 4:26,2,2:4 8:55,84,2:4 *2:4,0,0
= t-shirt: short short tank / plain plain plain striped dotted checked floral ombre camouflage / any / 100 0; use top
[short 12] set long; [short] arm cloth-8 0,26:36 30:50,20:32; [long] arm cloth-8 0,30 50,23 85:95,15; [short] use trunk
[tank] half 0,-72 20,-80! 31,-79! 32,-56 40,-34 39,5 42,48! 0,50; use neck; [25] set printed; [plain 40] set printed
[printed 50] one second 0,-18,10:24,10:24; [printed 50] one extra -22:-8,-22,5 8:22,-22,5 *1:4,0,11
= shirt: button-down / plain plain checked checked pinstriped striped floral / any / 100 0; use top
arm cloth-8 0,28 25:48,24:30; [70] set long; [long] arm cloth-8 0,28 50,22 85:100,16:20; use trunk
both -26 4,-70,1 4,50,1; use neck; both cloth+8 14,-90 21,-78! 13:20,-60:-52! 0,-68; one contrast 0,-55,2,2 *5:8,0,14
= sweater: pullover hoodie / plain knitted knitted striped ombre / any / 100 0; use top
[hoodie] half cloth-14 0,-90 20,-88 32,-76 0,-50; [hoodie !worn] one cloth-20 0,-86,22,16
arm cloth-6 0,30:38 50,27 97,20; use trunk; arm cloth-16 87,20 101,17; half cloth-16 0,41 41,41! 40,52! 0,53; use neck
[hoodie] both light 7,-62,2 5:10,-40:-20,2; [hoodie] half cloth-12 0,2 18,2! 30,34! 30,40! 0,40
= jacket: short coat / plain plain plain checked denim camouflage / any / 95 0; use top; [50] set lapels; [40] set open
arm cloth-8 0,32:40 50,29 94:100,19:24; use trunk; [open] half extra-26 0,-80 12,-80! 10:26,51! 0,51!
[lapels] half extra-10 0,-84 17,-82! 0,-45:-25!; [lapels] both cloth+10 10,-88 24,-78 22:30,-50! 3,-8 8,-50; use neck
[!lapels] both cloth-12 0,-72 4,-92 24,-86 24,-72; [lapels !open] both dark 3:12,0,2,2 *3:5,0,12
[!lapels !open] one metal 0,-88,3 0,51,3; both -56 20,8,2 38,4:14,2; [coat 50] half trim 0,3 40,3! 40,12! 0,12
= dress: short short long / plain plain plain striped dotted checked floral ombre floral / any / 95 0
fit -80,85:118,0 -2,85:115,-6:6 85,60:125,-32:2; [long] fit -80,85:118,0 85,65:130,10:38; [60] set worn; set bare
use body; [45] set bodice; [!bodice] arm cloth-6 0,22:30 14:35,14:26; [!bodice 25] arm cloth-6 0,26 50,20 85:100,15
[bodice] both main 24,-52,2:7 13:24,-80,2:7; [bodice] half 0,-42 12,-42 26,-54! 36,-36 28,0! 0,0
[!bodice] half 0,-76 18,-80! 42,-70! 36,-36 28,0! 0,0; [!bodice] use neck; half 0,-3 27,-3! 40:52,40 60,85! 30,88 0,88
use pleats; [40] half trim 0,-6 29,-6! 29,3!
= skirt: skirt / plain plain plain striped dotted checked floral denim / any / 105 57; use lower
fit 8,90:108,0 85,55:135,-38:32; half 0,5 33,5! 38:54,45 60,85! 30,88 0,89; use pleats
half cloth-18 0,0 34,0! 35,10! 0,10; [30] one contrast 0,18,2,2 *4:7,0,10
= seat; half 0,5 34,5! 38,35 37,48 2,62; half cloth-14 0,0 34,0! 35,11! 0,11; one -46 0,10,2 2,35,2 0,58,2
= trousers: trousers / plain plain plain pinstriped checked camouflage / any / 95 100; use lower
leg cloth-6 0,38 50,26:37 85:100,18:42; use seat; [60] leg -22 5,1 97,2; [35] half dark 0,1 34,1! 34,9!
= jeans: jeans / denim / blue, navy, light blue, black, grey / 95 100; use lower; leg cloth-6 0,38 50,25:34 85:101,16:36
use seat; both thread 17,13,1 20,22,1 36,25,1; both thread 12,0,1 12,11,1; [80] leg +24 20,6:16 40:60,6:16
= shorts: casual sport / plain plain denim checked floral camouflage / any / 115 47; use lower
[!worn] bone leg 18,28 20:40,104 24:60,180; leg cloth-6 0,40 20:44,36:47; use seat; [sport] both light 2,2,2 4:10,24,2
[sport 60] both second 36,10,4 38:42,75,4; [casual] both -40 20,12,2 36,30,2
= pair; [25] set worn; [55] set pair; [pair !worn 50] set turned; [turned] use shoe -10:10,-40,-90,90
[pair !turned] use shoe -18:18,-40,90,90; [pair] use shoe 0,20,95,95; [!pair] use shoe
= sneaker: low / plain plain plain ombre checked camouflage / any / 95 0 pair; fit -42,100,-4:12 -14,100,0
[25] fit -42,100,-30:-12 -14,100,0; [worn] one skin -55,-180,52 -50,-80,40 -52,0,30
one cloth -84,25 -86,-5 -80,-42! -60,-34 -36,-42! -10,-20 25,-2 62,2 86,14 88,28
[50] one trim 52,2 75,6 90,18 90,28! 46,28!; one sole -88,20 60,22 95,18 92,31:42 -86,31:42
one light -30,-14,3 -19,-26,3 *5,12,6; [40] one second -60,-10,6 -35,10,6 10,0,6
[40] one second -40,-11,4 -28,18,4 *3,14,3
= boot: ankle knee / plain / leather / 95 0 pair; fit -40,90:112,-14:8 20,100,0 40,100,-12:14 58,100,0; [45] set laced
[knee] fit -40,88:112,-80:-52 -28,100,0 20,100,0 40,100,-12:14 58,100,0; [worn] one skin -46,-120,46 -43,-40,34 -43,0,30
one dark -74,38! -42,38! -50,66! -70,66!; one dark -74,38 -20,38 10,56 66,56 64,64 10,64 -30,46
one cloth -66,-45! -20,-42! -20,-10 0,14 42,36 62,48 64,58 20,58 -20,40 -74,40 -74,10
[laced] one light -42,-24,2 -26,-27,2 *6,0,7; [!laced] one metal -50,-38,1 -46,28,1
= sandal: flat heel / plain plain dotted / leather, pink, yellow, blue / 95 0 pair; fit -10,100,-14:16 38,100,0
[flat] fit -10,100,40:50 38,100,2; [worn] one skin -62,-180,44 -58,-100,32 -60,-20,30
[worn] one skin -68,-48 -82,-18 -60,-6 10,36 50,40 20,10 -5,-16 -36,-50; [heel] one -86,-8! -60,-2! -72,52! -80,52!
one sole -84,-8,12 -50,2,11 10,38,11 50,44,12 86,42,9; one cloth-10 -86,-8 -86,-38 -70,-42 -56,-8
one -84,-34,10 -56,-44,10 -34,-38,10 -38,-4,10; fit 0,100,0; use strap 10:16,0,100,100 *1:4,22,3
= strap; [!worn] one dark 0,36,14,20; one -17,40,10:20 -14,22,14 0,12,10:20 14,22,14 17,40,10:20
= hat: cap brim / plain plain plain pinstriped checked camouflage knitted / any / 85 0; [40] set worn; [40] set front
fit -55,85:110,-15:10 10,90:108,0; [worn] set front; [worn] use head 0,45,50,50
[cap] half 0,-50 30,-48 56,-25 62,12! 60,24! 0,26; [cap] both -26 0,-50,2 22,-28,2 28,22,2
[cap front] half trim-14 0,8 58,14 52,40 0,42; [cap !front] one trim-14 -8,14 60,10 105,18 100,42 4,40
[cap 60] one second 0,-20,17,10:17; [brim] one cloth-10 0,22,85:110,16:32
[brim] half 0,-50 30,-56 42,-44 52,22 30,30 0,32; [brim] half trim 0,8 49,2! 53,20! 30,29 0,31
= handbag: tote shoulder / plain plain plain striped checked floral / any / 90 0
[15] one skin 0,-160,24 3,-90,20 0,-55,14; fit -20,82:122,-8:8 60,85:120,-10:15; [tote] use handle 0,-12,26:38,40:75
[shoulder] use handle 0,-12,56,70:100; half 0,-20 62,-20! 70,52 68,60 0,62; use folds 0,30,150,60
[tote] use handle 0,-9,28:37,38:70; [tote] both metal 30:36,-10,4,4
[shoulder] half cloth+6 0,-22 63,-22! 63,-18 60,12:20 0,15:34; [shoulder] one metal 0,16:26,8,6
= handle; one main-14 -100,10,9 -94,-45,9 -60,-85,9 0,-100,9 60,-85,9 94,-45,9 100,10,9
= sunglasses: square round / plain plain plain ombre / any / 95 0; [30] set worn; [worn] use head 0,12,72,72
fit -30,88:112,-10:4 30,88:112,-6:12; [!worn] both main 78,-8,6 20:95,-60:-30,6; one main -20,-8,4:9 20,-8,4:9
[round] both 42,0,33,32; [round] both lens 42,0,24:30,24:29; [square] both 8,-26 40,-30 76,-26! 68,22 44,30 14,20
[square] both lens 13:16,-18 40,-22 70,-18! 60:64,16 44,23 21,14; both +70 22,-12,3:10 46,10,5
= watch: round square / plain / leather / 85 0; fit -115,80:115,0 115,80:115,0; [35] set worn
[worn] one skin -180,10,80 0,0,66 180,-10,76; [worn] half 0,-36 22,-36! 22,36! 0,36
[!worn] half 0,-115 24,-115! 38,-50 38,50 24,115! 0,115; one -40 -12,-106,3 12,-106,3 *13,0,17; one metal 42,0,4,5
[round] one metal 0,0,40,40; [round] one trim 0,0,31:35,31:35; [square] half metal 0,-40 40,-40! 40,40! 0,40
[square] half trim 0,-33 33,-33! 33,33! 0,33; one contrast 0,-25,3,4; one contrast 0,25,2,3; both contrast 25,0,3,2
one contrast 0,0,3 -16:16,-16:16,3; one contrast 0,0,3 -24:24,-24:24,3
"""
