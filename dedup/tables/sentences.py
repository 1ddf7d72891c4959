"""Generate `sentences.npz`: what the sentence splitter knows of characters and words.

Run ``python -m dedup.tables.sentences`` after a change and commit the file; a
test generates the table again and compares. Needs `unicodedataplus` (extra
``dev``), which carries one Unicode version whatever the Python. Only the
stored table is read at run time.

Characters get a class from the Sentence_Break property (UAX #29), the general
category and the script; words get flags, abbreviations by what may follow
them. No word is looked up by language: a text does not say which it is in.

References
----------
Unicode Standard Annex #29, "Unicode Text Segmentation", Unicode 16.0, 2024.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import unicodedataplus as unicode
from numpy.typing import NDArray

TABLE_PATH = Path(__file__).with_name("sentences.npz")

# Classes of characters.
OTHER, EXTEND, SPACE, LINE = 0, 1, 2, 3
UPPER, LOWER, LETTER, DENSE, DIGIT = 4, 5, 6, 7, 8
DOT, MARK, ELLIPSIS, STOP = 9, 10, 11, 12
OPEN, QUOTE, CLOSE = 13, 14, 15
COMMA, DASH, BULLET = 16, 17, 18

# What a first byte asks of the scan: nothing; to stop here; to look up the
# block of 64 code points; to ask which script stands before; to ask whether
# the space parts two runs of text without spaces.
SKIP, HALT, BLOCK, SCRIPT, GAP = 0, 1, 2, 3, 4

# Flags of words.
FLAGS = {
    "before_name": 1,  # no border before a capital or a digit
    "before_number": 2,  # no border before a digit
    "closes_some": 4,  # a border only before a word of `opens`
    "opens": 8,  # opens a sentence
    "after_ordinal": 16,  # what an ordinal number counts
    "before_ordinal": 64,  # stands before an ordinal number
    "suffix": 32,  # follows a dot inside a name: file endings, domains
}

_WHITE_SPACE = {0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000, 0x09}
_LINE_BREAKS = {0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029}
_BULLETS = set("•‣⁃◦▪▫■□●○◆◇►▸✓✔➢➤")
# Scripts whose letters may follow a stop at once.
_DENSE_SCRIPTS = {"Han", "Hiragana", "Katakana", "Bopomofo", "Hangul", "Yi"}
# Stops that ask for white space after them, as those of ASCII do.
_MARKS = set("!?‼‽⁇⁈⁉⸮﹖﹗⸘\u037e")


# A section for each flag. A word counts as written, with a capital first letter
# and, if an abbreviation, in capitals; an abbreviation that is also an everyday
# word stands here with its capital. Single letters need no entry, nor do words
# for "and so on": a capital after them opens a sentence far more often than not.
_WORDS = """
[before_name]
Mr Mrs Ms Messrs Mme Mmes Mlle Mgr dr drs prof profs Rev Hon Gen Sen Rep Gov Lt Col Maj capt cpt
cmdr Sgt cpl pvt Adm Pres supt Insp pfc Ens
st ste Mt Ft Sra Srta Dres Sto Sta vs cf viz Fr Ald Amb asst bldg dist Atty Lieut Adj Comdr
hr hrn Frl dipl Mag phil med rer nat jur habil bzw ca evtl ggf inkl exkl zzgl zzt sog vgl insb
bspw hl kgl kath mrd ehem geb gest urspr Dir
dhr mw mevr bijv resp dhh
Sig Sigg dott arch Avv geom mons
exmo exma Profa Dra Eng
ing Mudr Judr Phdr Rndr doc např tzv pplk plk kpt
inż hab ks tzw np ul im godz kat fot reż woj pow gm płk św
ул просп гр тов проф акад доц инж св обл дер корп напр им
doç yrd ord uzm
plm
kpl esim skt napr пгт
Lic Licda Sres psicol
gim akt
डॉ डा प्रो श्री एस एन एम एल आर बी सी डी पी के टी वी जे ई मा मो सं
ડો ડૉ પ્રો શ્રી એસ એન એમ એલ આર બી સી ડી પી કે ટી વી જે
டாக்டர் எஸ் என் எம் எல் ஆர் பி சி டி கே வி ஜே ஜி மு தி மி
ឧ
Yahoo
[before_number]
no nos nr nrs n° nº num núm núms pp pg pgs pág págs pag pagg fig figs abb tab vol vols ch chap cap
kap sec sect secs art arts abs par para paras ed eds bd bde op approx app appx col cols eq eqs ex
ref refs ver vers var lk стр рис гл ст см табл čís str obr tel tél fax ext
Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec
кв Ene Abr Ago Dic
[closes_some]
co corp inc ltd bros plc llc jr sr esq Ave blvd Rd sq hwy dept Univ assn assoc Div mfg intl natl
Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thur Thurs Fri Sat Sun
Ala Ariz Ark Calif Cal Colo Conn Del Fla Ga Ill Ind Kan Ky La Mass Md Mich Minn Miss Mo Mont Neb
Nev Okla Ore Pa Penn Tenn Tex Va Vt Wash Wis Wyo
jh jhd std tsd stk
cía cia lda ltda
tj tis kč
vb bkz
mh utt ym yms stb
[opens]
the this that these those there then they thus though although he she it its his her hers we our
us you your i i'm i've i'll it's he's she's that's there's my mine me a an and but or nor so yet
if in on at by for from to of with without when where why who whom whose what which how while
whether after before during since until unless because as is are was were do does did has have had
can could will would shall should may might must not no none now here some many most more all any
both each every few several such other another one two three however therefore moreover meanwhile
according also even only just once still again please mr mrs ms dr let let's didn't don't isn't
der die das den dem des er sie es wir ihr ich du ein eine einer einem einen eines und aber oder
doch denn wenn weil dass als wie was wer wo wann warum im in am an auf aus bei mit nach seit von
vom vor zu zum zur für durch gegen ohne um bis dieser diese dieses dabei dazu damit danach dann da
dort hier nun so auch noch nur nicht man mein sein seine ihre unser kein keine alle viele einige
jedoch zudem allerdings außerdem
le la les l un une des il elle ils elles nous vous je tu on ce cet cette ces et mais ou donc car
si en dans sur sous avec sans pour par de du à au aux après avant depuis quand comme qui que quoi
où pourquoi son sa ses leur leurs mon ma mes notre votre cependant ainsi alors puis
el los las lo una unos unas él ella ellos ellas nosotros usted ustedes yo y pero o ni si en de del
al con sin por para según sobre tras desde hasta cuando como que quien donde este esta estos estas
ese esa esto eso su sus mi mis nuestro nuestra también además ya
il gli uno lui lei loro noi voi io e ed ma o se nel nella nei nelle dal dalla dai del della dei
delle con senza per tra fra quando come che chi dove questo questa questi queste quello quella suo
sua non anche dopo prima
o os as um uma ele ela eles elas nós eu mas e ou se no na nos nas do da dos das em com sem por
para quando como que quem onde este esta isso isto seu sua não também
de het een hij zij ze wij we ik jij u en maar of als in op aan bij met naar van voor uit door over
na dit dat deze die er zijn haar hun niet ook toen nu
i a ale lub czy jeśli w we z ze na do od po przed przy dla o u to ten ta te jest są był była nie
jak kiedy gdzie co kto on ona ono oni my wy ja jego jej ich tak już
a ale nebo v ve na do od po před při pro o u to ten ta je jsou byl byla ne jak když kde co kdo on
ona oni my vy já jeho její jejich tak podle však
и а но или в во на с со к ко от до по при для о об у из за это этот эта эти он она оно они мы вы я
его её их не как когда где что кто если так также однако после тем там тут
bu şu o ve ama fakat ancak veya ile için bir ben sen biz siz onlar ne nasıl neden niçin çünkü eğer
daha
ja aga või kui ka see need ta nad me te ma mis kes kus miks selle seda oma et
un bet vai ja ka tas tā šis šī viņš viņa viņi mēs jūs es kas kur kad kāpēc ar no uz par pēc pie
ir bet ar kad jei tai tas ta šis ši jis ji jie mes jūs aš kas kur kaip kodėl po prie iš į su už
ja mutta tai jos kun se ne hän he me te minä sinä tämä nämä tuo mikä kuka missä miten miksi myös
și dar sau dacă în pe la cu de din pentru prin după când cum ce cine unde el ea ei ele noi voi eu
acest această nu
det den de en ett han hon vi jag du i och men eller om på av för med som när hur var vad vem
hvad hvem hvor hvornår hvordan hvorfor jeg der dette disse og men hvis når fra til ved
[after_ordinal]
januar jänner februar märz april mai juni juli august september oktober november dezember
january february march june july october december
januari februari maart mei augustus
ledna února března dubna května června července srpna září října listopadu prosince
ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık
jahrhundert jahrhunderts jahrhunderte jahrestag jahr jahre geburtstag spieltag minute platz mal
auflage kapitel klasse runde woche tag stock bezirk liga halbjahr quartal parteitag weltkrieg
weltkriegs weltkrieges armee bundesliga saison etage breitengrad hochzeitstag internationale
internationalen
lig dünya cadde madde hafta dönem gün kez sınıf kat yıl yüzyıl
storočia kapitola
század fejezet
gadsimts saeima
[suffix]
com net org edu gov mil int info biz io co uk de fr es it nl pl cz ru tr fi se eu us tv me ai app
dev html htm php asp js ts py java exe dll txt pdf doc docx xls csv json xml md zip gz tar jpg
jpeg png gif svg mp mp3 mp4 name
[before_ordinal]
der die das den dem des am im zum zur vom beim bis ab seit ins ihr ihre ihren ihrem ihres sein
seine seinen seinem seines
"""


def classify(character: str) -> int:
    """Return the class of a character."""
    point = ord(character)
    if point in _LINE_BREAKS:
        return LINE
    if point in _WHITE_SPACE:
        return SPACE
    if character in _MARKS:
        return MARK
    if character in "…‥⋯":
        return ELLIPSIS
    if character in _BULLETS:
        return BULLET
    if character in "\"'`´＂＇¨":
        return QUOTE
    if character in "¿¡":
        return OPEN
    if character == "．":
        return STOP
    category = unicode.category(character)
    if category == "Pd":
        return DASH
    kind = unicode.sentence_break(character)
    if kind in ("ATerm", "STerm"):
        return DOT if kind == "ATerm" else STOP
    if kind in ("Extend", "Format"):
        return EXTEND
    if kind == "SContinue":
        return COMMA
    if kind == "Numeric":
        return DIGIT
    if kind == "Upper":
        return UPPER
    if kind == "Lower":
        return LOWER
    if kind == "OLetter":
        return DENSE if unicode.script(character) in _DENSE_SCRIPTS else LETTER
    return {"Ps": OPEN, "Pi": QUOTE, "Pf": CLOSE, "Pe": CLOSE}.get(category, OTHER)


def read_words() -> dict[str, int]:
    """Read the words and their flags; each as written, with a capital, and in capitals."""
    flags: dict[str, int] = {}
    flag = 0
    abbreviation = FLAGS["before_name"] | FLAGS["before_number"] | FLAGS["closes_some"]
    for line in _WORDS.strip().splitlines():
        if line.startswith("["):
            flag = FLAGS[line.strip("[]")]
            continue
        for word in line.split():
            forms = {word, word[0].upper() + word[1:]}
            if flag & abbreviation:
                forms.add(word.upper())
            for form in forms:
                flags[form] = flags.get(form, 0) | flag
    return flags


def hash_word(word: bytes) -> int:
    """Hash a word: FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in word:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def generate_table() -> dict[str, NDArray[np.generic]]:
    """Generate the table as arrays.

    Returns
    -------
    dict
        ``blocks`` uint16[17408], block of each run of 64 code points;
        ``classes`` uint8[64 * block_count]; ``kinds`` uint8[3, 256], what a
        first byte asks of the scan: plain, inside a list, in text without spaces; ``halts``
        uint8[17408], 1 where a block holds a stop, 2 where a bullet;
        ``word_keys`` uint64[n] and ``word_flags`` uint8[n], open addressing by
        ``hash_word``, 0 where empty; ``words`` and ``flags``, the same to read;
        ``unicode_version``.
    """
    blocks = np.zeros(0x110000 >> 6, np.uint16)
    halts = np.zeros(0x110000 >> 6, np.uint8)
    numbers: dict[bytes, int] = {}
    for block in range(len(blocks)):
        points = range(block << 6, (block + 1) << 6)
        row = bytes(0 if 0xD800 <= point <= 0xDFFF else classify(chr(point)) for point in points)
        blocks[block] = numbers.setdefault(row, len(numbers))
        halts[block] = any(cls in row for cls in (DOT, MARK, ELLIPSIS, STOP)) + 2 * (BULLET in row)
    kinds = np.zeros((3, 256), np.uint8)
    kinds[:, list(b".!?")] = HALT
    kinds[:, list(b":;")] = SCRIPT
    kinds[1, ord(")")] = HALT
    kinds[2, ord(" ")] = GAP
    for block in np.flatnonzero(halts).tolist():
        if block > 1:
            first = chr(block << 6).encode()[0]
            kinds[1, first] = BLOCK
            if halts[block] & 1:
                kinds[0, first] = kinds[2, first] = BLOCK
    words = read_words()
    size = 1 << (4 * len(words) - 1).bit_length()
    keys, flags = np.zeros(size, np.uint64), np.zeros(size, np.uint8)
    for word, flag in sorted(words.items()):
        key = hash_word(word.encode())
        slot = key >> 20 & size - 1
        while keys[slot]:
            slot = slot + 1 & size - 1
        keys[slot], flags[slot] = key, flag
    return {
        "blocks": blocks,
        "classes": np.frombuffer(b"".join(numbers), np.uint8),
        "kinds": kinds,
        "halts": halts,
        "word_keys": keys,
        "word_flags": flags,
        "words": np.array("\n".join(sorted(words))),
        "flags": np.array([flag for _, flag in sorted(words.items())], np.uint8),
        "unicode_version": np.array(unicode.unidata_version),
    }


def table_crc(table: Mapping[str, NDArray[np.generic]]) -> int:
    """Return the check sum that `dedup.sentence_rules` has to carry."""
    crc = 0
    for name in ("blocks", "classes", "kinds", "halts", "word_keys", "word_flags"):
        crc = zlib.crc32(table[name].tobytes(), crc)
    return crc


if __name__ == "__main__":
    generated = generate_table()
    np.savez_compressed(TABLE_PATH, **generated)  # type: ignore[arg-type]
    print(f"TABLE_CRC = {table_crc(generated):#x}")
