"""Releases in several tables: parts are joined, splits follow their names, contradictions stop."""

import logging

import pytest
from folders import fill, read, workbook

from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import readers, splits

ISIC2019 = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"
MEL, NV, UNK = "1,0,0,0,0,0,0,0,0", "0,1,0,0,0,0,0,0,0", "0,0,0,0,0,0,0,0,1"


def isic2019(root, test=(f"T1,{NV}", f"T2,{UNK}"), photos=("A1", "A2", "T1", "T2"), **more):
    """ISIC 2019's training and test set with their metadata."""
    folder = {"A": "ISIC_2019_Training_Input", "T": "ISIC_2019_Test_Input"}
    return fill(root, [f"{folder[name[0]]}/{name}.jpg" for name in photos], **{
        "ISIC_2019_Training_GroundTruth.csv": [ISIC2019, f"A1,{MEL}", f"A2,{NV}"],
        "ISIC_2019_Training_Metadata.csv": [
            "image,age_approx,anatom_site_general,lesion_id,sex",
            "A1,55.0,anterior torso,BCN_7,female", "A2,,,,",
        ],
        "ISIC_2019_Test_GroundTruth.csv": [
            f"{ISIC2019},score_weight,validation_weight", *(f"{row},1,0" for row in test)
        ],
        "ISIC_2019_Test_Metadata.csv": [
            "image,age_approx,anatom_site_general,sex", "T1,60,head/neck,male", "T2,,,male",
        ],
        **more,
    })  # fmt: skip


def by_id(root, **options):
    records = read(root, **options).reset_index()
    return records.set_index(records["path"].str.extract(r"(\w+)\.\w+$")[0])


def test_training_and_test_tables_are_one_data_set_with_its_splits(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        records = by_id(isic2019(tmp_path))
    rows = {name: (row["fine"], row["split"]) for name, row in records.iterrows()}
    assert rows == {"A1": ("mel", "train"), "A2": ("nv", "train"), "T1": ("nv", "test"),
                    "T2": ("", "test")}  # fmt: skip
    assert records["sex"].to_dict() == {"A1": "female", "A2": "", "T1": "male", "T2": "male"}
    assert records.loc["A1", "lesion_id"] == "BCN_7"
    assert (records.loc["A1", "age"], records.loc["T1", "age"]) == (55, 60)
    assert "labelled photos are split as the tables say: 2 train, 1 test" in caplog.text
    assert "of 4 photos 1 have no label" in caplog.text


def test_the_test_photos_without_a_truth_are_unlabelled_and_no_test_split(tmp_path, caplog):
    isic2019(tmp_path)
    (tmp_path / "ISIC_2019_Test_GroundTruth.csv").unlink()
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        records = by_id(tmp_path)
    assert records["fine"].to_dict() == {"A1": "mel", "A2": "nv", "T1": "", "T2": ""}
    assert set(records["split"]) == {""}
    assert "of 4 photos 2 have no label" in caplog.text


def test_a_part_whose_photos_are_not_there_is_left_out(tmp_path, caplog):
    isic2019(tmp_path, photos=("A1", "A2"), **{"ISIC_2019_Test_Input.zip": ["PK"]})
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        records = by_id(tmp_path)
    assert set(records.index) == {"A1", "A2"}
    assert set(records["split"]) == {""}  # else no photo would be left to validate on
    assert "none of their photos is there: ISIC_2019_Test_GroundTruth.csv (2 rows)" in caplog.text
    assert "ISIC_2019_Test_Input.zip is packed; unpack it" in caplog.text


def test_one_missing_photo_of_a_part_is_refused(tmp_path):
    isic2019(tmp_path, photos=("A1", "A2", "T1"))
    message = r"line 3 of ISIC_2019_Test_GroundTruth.csv: image 'T2' not found \(1 of 4"
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_rows_of_one_photo_that_contradict_each_other_are_refused(tmp_path):
    odd = ["image,age_approx,sex", "A1,54,female"]
    message = (
        r"lines 2 of ISIC_2019_Training_Metadata.csv and 2 of more_metadata.csv are both 'A1', "
        r"with age '55' and '54'; keep the right line"
    )
    with pytest.raises(UserError, match=message):
        read(isic2019(tmp_path, **{"more_metadata.csv": odd}))


def test_a_photo_in_training_and_test_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"are both 'A1', with split 'test' and 'train'"):
        read(isic2019(tmp_path, test=(f"A1,{MEL}",)))


def test_rows_that_agree_are_one_and_blank_cells_are_filled(tmp_path):
    first = ["image_name,patient_id,sex,benign_malignant,target", "a,P1,,benign,0"]
    second = ["image_name,patient_id,lesion_id,sex,benign_malignant,target",
              "a,P1,L1,male,benign,0", "b,P2,L2,male,malignant,1"]  # fmt: skip
    names = ("ISIC_2020_Training_GroundTruth.csv", "ISIC_2020_Training_GroundTruth_v2.csv")
    records = by_id(fill(tmp_path, ["a.jpg", "b.jpg"], **dict(zip(names, (first, second)))))
    assert records.loc["a", ["lesion_id", "sex", "fine"]].tolist() == ["L1", "male", "benign"]
    assert set(records["split"]) == {""}


ISIC2018 = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"


def test_isic_2018_brings_three_splits_and_lesions(tmp_path):
    tables = {
        f"ISIC2018_Task3_{part}_GroundTruth/ISIC2018_Task3_{part}_GroundTruth.csv": [
            ISIC2018, f"{part}1,1,0,0,0,0,0,0", f"{part}2,0,0,0,1,0,0,0"]
        for part in ("Training", "Validation", "Test")
    }  # fmt: skip
    tables["ISIC2018_Task3_Training_LesionGroupings.csv"] = [
        "image,lesion_id,diagnosis_confirm_type", "Training1,HAM_1,histopathology"]  # fmt: skip
    photos = [f"ISIC2018_Task3_{part}_Input/{part}{k}.jpg" for part in
              ("Training", "Validation", "Test") for k in (1, 2)]  # fmt: skip
    dataset = readers.read(Data(path=str(fill(tmp_path, photos, **tables))))
    assert dataset.taxonomy.name == "ham10000"
    split = splits.assign(dataset).index
    assert {path.split("/")[1]: name for path, name in zip(split["path"], split["split"])} == {
        "Training1.jpg": "train", "Training2.jpg": "train", "Validation1.jpg": "validation",
        "Validation2.jpg": "validation", "Test1.jpg": "test", "Test2.jpg": "test",
    }  # fmt: skip
    assert sorted(split["lesion_id"])[-1] == "HAM_1"


def test_two_releases_are_no_parts_of_one(tmp_path):
    more = {"ISIC2018_Task3_Test_GroundTruth.csv": [ISIC2018, "T1,1,0,0,0,0,0,0"]}
    with pytest.raises(UserError, match=r"the classes of two tables differ: .*akiec.*; keep one"):
        read(isic2019(tmp_path, **more))


def test_milk10k_training_and_test(tmp_path):
    header = "lesion_id,image_type,isic_id,age_approx,sex,skin_tone_class,site"
    truth = "lesion_id,AKIEC,BCC,BEN_OTH,BKL,DF,INF,MAL_OTH,MEL,NV,SCCKA,VASC"
    photos = [f"MILK10k_{part}_Input/L/{name}.jpg" for part, name in
              (("Training", "A1"), ("Training", "A2"), ("Test", "T1"))]  # fmt: skip
    records = by_id(fill(tmp_path, photos, **{
        "MILK10k_Training_Metadata.csv": [
            header, "L1,dermoscopic,A1,50,male,5,trunk", "L1,clinical: close-up,A2,50,male,5,trunk",
        ],
        "MILK10k_Training_GroundTruth.csv": [truth, "L1,0,0,0,0,0,0,0,0,1,0,0"],
        "MILK10k_Training_Supplement.csv": ["isic_id,diagnosis_full,diagnosis_confirm_type",
                                            "A1,Nevus,histopathology"],
        "MILK10k_Test_Metadata.csv": [header, "L9,dermoscopic,T1,50,male,0,trunk"],
    }))  # fmt: skip
    assert records["fine"].to_dict() == {"A1": "nv", "A2": "nv", "T1": ""}
    assert records.loc["T1", "skin_tone"] == "MILK10k 0"
    assert set(records["split"]) == {""}


@pytest.mark.parametrize("test", [
    ["bcn_filename,age_approx,diagnosis,lesion_id", "t.jpg,60,,BCN_3"],
    ["bcn_filename,age_approx,lesion_id", "t.jpg,60,BCN_3"],
])  # fmt: skip
def test_bcn20000_training_and_test(tmp_path, test):
    train = ["bcn_filename,age_approx,diagnosis,lesion_id,split", "a.jpg,40,NV,BCN_1,train",
             "b.jpg,40,MEL,BCN_2,train"]  # fmt: skip
    photos = ["BCN_20k_train/bcn_20k_train/a.jpg", "BCN_20k_train/bcn_20k_train/b.jpg",
              "BCN_20k_test/bcn_20k_test/t.jpg"]  # fmt: skip
    tables = {"bcn_20k_train.csv": train, "bcn_20k_test.csv": test}
    records = by_id(fill(tmp_path, photos, **tables))
    assert records["fine"].to_dict() == {"a": "nv", "b": "mel", "t": ""}
    assert set(records["split"]) == {""}
    assert records.loc["t", "lesion_id"] == "BCN_3"


def derm7pt(root, **indexes):
    """Four cases with two photos each, and index files."""
    rows = [f"{k},clark nevus,abdomen,female,NAA/c{k}.jpg,NAA/d{k}.jpg" for k in range(1, 5)]
    photos = [f"images/NAA/{view}{k}.jpg" for view in "cd" for k in range(1, 5)]
    return fill(root, photos, **{
        "meta/meta.csv": ["case_num,diagnosis,location,sex,clinic,derm", *rows],
        **{f"meta/{name}_indexes.csv": ["indexes", *map(str, of)] for name, of in indexes.items()},
    })  # fmt: skip


def test_index_files_give_derm7pt_its_splits(tmp_path):
    records = by_id(derm7pt(tmp_path, train=[0, 3], valid=[2], test=[1]))
    assert records["split"].to_dict() == {
        f"{view}{k}": split for view in "cd"
        for k, split in enumerate(("train", "test", "validation", "train"), 1)
    }  # fmt: skip
    assert set(by_id(derm7pt(tmp_path / "without"))["split"]) == {""}


@pytest.mark.parametrize(("indexes", "message"), [
    ({"train": [0, 1, 2], "test": [4]}, r"test_indexes.csv: line 2: '4' is no row of meta.csv, "
                                        r"which has 4, the first is 0"),
    ({"train": [0, 1, 2], "test": [2, 3]}, r"train_indexes.csv: line 4: row 2 of meta.csv is in "
                                           r"test and in train; keep one"),
    ({"train": [0, 1], "test": [2]}, r"meta.csv: line 5 \(1 in all\) is in none of "
                                     r"test_indexes.csv, train_indexes.csv; add what is missing"),
])  # fmt: skip
def test_index_files_that_are_wrong_are_refused(tmp_path, indexes, message):
    with pytest.raises(UserError, match=message):
        read(derm7pt(tmp_path, **indexes))


def archive(root, *rows, columns=3):
    names = [f"diagnosis_{k}" for k in range(1, columns + 1)]
    photos = [f"{row.split(',')[0]}.jpg" for row in rows]
    return fill(root, photos, **{"metadata.csv": [",".join(["isic_id", *names]), *rows]})


def test_isic_archive_labels_are_of_one_level(tmp_path, caplog):
    root = archive(
        tmp_path, "a,Benign,Benign melanocytic,Nevus,,", "b,Benign,Benign melanocytic,Nevus,Spitz,",
        "c,Malignant,Malignant melanocytic,Melanoma,,", "d,Benign,,,,", "e,Benign,Benign other,,,",
        "f,Indeterminate,,,,", "g,,,,,", columns=5,
    )  # fmt: skip
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        records = by_id(root)
    labels = {name: (row["fine"], row["coarse"]) for name, row in records.iterrows()}
    assert labels == {
        "a": ("Nevus", "Benign"), "b": ("Nevus", "Benign"), "c": ("Melanoma", "Malignant"),
        "d": ("", "Benign"), "e": ("", "Benign"), "f": ("", ""), "g": ("", ""),
    }  # fmt: skip
    line = (
        "of 7 photos 2 have a coarse label alone, 2 have no label, 1 of these are of a group in "
        "which no photo has a fine label (Indeterminate)"
    )
    assert caplog.text.count(line) == 1


def test_isic_archive_tables_of_different_depth(tmp_path):
    archive(tmp_path, "a,Benign,x,Nevus", "b,Malignant,y,Melanoma")
    more = ["isic_id,diagnosis_1,diagnosis_2", "c,Benign,x", "d,Malignant,y"]
    records = by_id(fill(tmp_path, ["c.jpg", "d.jpg"], **{"more.csv": more}))
    assert records["fine"].to_dict() == {"a": "Nevus", "b": "Melanoma", "c": "", "d": ""}
    assert records["coarse"].to_dict() == {
        "a": "Benign", "b": "Malignant", "c": "Benign", "d": "Malignant",
    }  # fmt: skip


def test_isic_archive_with_coarse_labels_alone(tmp_path):
    root = archive(tmp_path, "a,Benign,,", "b,Malignant,,")
    assert by_id(root)["fine"].to_dict() == {"a": "Benign", "b": "Malignant"}


@pytest.mark.parametrize(("text", "message"), [
    ("{'Eczema': 'much'}", r"scin_labels.csv: line 2: weighted_skin_condition_label .*much"),
    ("Eczema", r"line 2: weighted_skin_condition_label 'Eczema'; write it like \{'Eczema'"),
    ("['Eczema']", r"line 2: weighted_skin_condition_label"),
])  # fmt: skip
def test_scin_weights_that_are_none_are_refused(tmp_path, text, message):
    fill(tmp_path, ["images/1.png", "images/2.png"], **{
        "scin_cases.csv": ["case_id,image_1_path,image_2_path,image_3_path", "7,1.png,2.png,"],
        "scin_labels.csv": ["case_id,weighted_skin_condition_label", f'7,"{text}"'],
    })  # fmt: skip
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_scin_labels_without_the_cases_are_refused(tmp_path):
    labels = ["case_id,weighted_skin_condition_label", "7,\"{'Eczema': 1}\""]
    with pytest.raises(UserError, match=r"scin_labels.csv: scin's diagnoses without the table"):
        read(fill(tmp_path, ["1.png"], **{"scin_labels.csv": labels}))


def test_scin_counts_ties_and_leaves_them_unlabelled(tmp_path, caplog):
    fill(tmp_path, ["images/1.png", "images/2.png", "images/3.png"], **{
        "scin_cases.csv": ["case_id,image_1_path,image_2_path,image_3_path", "7,1.png,2.png,",
                           "8,3.png,,"],
        "scin_labels.csv": ["case_id,weighted_skin_condition_label", "7,\"{'A': 0.5, 'B': 0.5}\"",
                            "8,\"{'A': 0.4, 'B': 0.6}\""],
    })  # fmt: skip
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        records = by_id(tmp_path)
    assert records["fine"].to_dict() == {"1": "", "2": "", "3": "B"}
    assert records["lesion_id"].to_dict() == {"1": "7", "2": "7", "3": "8"}
    assert "1 of 2 cases have two conditions of the highest weight" in caplog.text


def test_a_table_that_fits_two_layouts_is_refused(tmp_path):
    table = ["image,isic_id,diagnosis_1,MEL,NV,BCC", "a,a,Benign,0,1,0"]
    with pytest.raises(UserError, match=r"its columns fit isic_onehot and isic_archive; delete"):
        read(fill(tmp_path, ["a.jpg"], **{"truth.csv": table}))


def test_tables_of_two_data_sets_are_refused(tmp_path):
    ddi = ["DDI_file,skin_tone,malignant", "a.jpg,12,True"]
    tone = ["md5hash,fitzpatrick_scale,label,three_partition_label", "b,3,acne,non-neoplastic"]
    fill(tmp_path, ["a.jpg", "b.jpg"], **{"ddi_metadata.csv": ddi, "fitzpatrick17k.csv": tone})
    message = r"tables of several data sets: ddi_metadata.csv \(ddi\), fitzpatrick17k.csv \(fitz"
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_another_table_of_the_same_photos_gives_ids_alone(tmp_path, caplog):
    milk = ["lesion_id,image_type,isic_id,site", "L1,dermoscopic,a,trunk"]
    more = ["isic_id,diagnosis_1,anatom_site_general,patient_id", "a,Benign,head/neck,P1",
            "elsewhere,Benign,head/neck,P2"]  # fmt: skip
    fill(tmp_path, ["a.jpg"], **{"Training_Metadata.csv": milk, "metadata.csv": more})
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        row = by_id(tmp_path).loc["a"]
    assert row[["site", "patient_id", "coarse"]].tolist() == ["trunk", "P1", ""]
    assert (
        "read as the table of milk10k: Training_Metadata.csv; of metadata.csv only" in caplog.text
    )


def test_classes_that_a_built_in_taxonomy_lacks_are_said(tmp_path, caplog):
    rows = ["patient_id,lesion_id,diagnostic,img_id", "P1,1,BCC,a.png", "P2,2,LENTIGO,b.png"]
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        dataset = readers.read(
            Data(path=str(fill(tmp_path, ["a.png", "b.png"], **{"m.csv": rows})))
        )
    assert dataset.taxonomy.name == "flat"
    assert "the classes (BCC, LENTIGO) aren't those of a built-in taxonomy" in caplog.text


WORDS = {
    "pad_ufes_20": ("patient_id,lesion_id,img_id,diagnostic,gender,fitspatrick", "P,1,{n}.png,BCC",
                    [("FEMALE", "1.0"), ("MALE", "6"), ("", "9")], [("female", "I"), ("male", "VI"),
                                                                   ("", "")]),
    "ddi": ("DDI_file,malignant,sex,skin_tone", "{n}.png,True",
            [("m", "12"), ("F", "34"), ("unknown", "56")],
            [("", "I-II"), ("", "III-IV"), ("", "V-VI")]),
    "fitzpatrick17k": ("md5hash,label,three_partition_label,sex,fitzpatrick_scale", "{n},x,y",
                       [("", "-1"), ("", "4"), ("", "6")], [("", ""), ("", "IV"), ("", "VI")]),
    "milk10k": ("isic_id,lesion_id,image_type,sex,skin_tone_class", "{n},L{n},derm",
                [("male", "0"), ("female", "5.0"), ("", "")],
                [("male", "MILK10k 0"), ("female", "MILK10k 5"), ("", "")]),
    "labels": ("filename,label,sex,skin_tone", "{n}.png,nv",
               [("m", "III"), ("F", "3"), ("diverse", "")],
               [("male", "III"), ("female", "3"), ("diverse", "")]),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_sex_and_skin_tone_are_written_in_one_way(tmp_path, name):
    header, row, given, expected = WORDS[name]
    lines = [",".join([row.format(n=n), *cells]) for n, cells in enumerate(given)]
    records = by_id(
        fill(tmp_path, ["0.png", "1.png", "2.png"], **{f"{name}.csv": [header, *lines]})
    )
    assert list(zip(records["sex"], records["skin_tone"])) == expected


def test_skin_tones_that_are_in_no_scale_are_counted(tmp_path, caplog):
    header, row, given, _ = WORDS["pad_ufes_20"]
    lines = [",".join([row.format(n=n), *cells]) for n, cells in enumerate(given)]
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        read(fill(tmp_path, ["0.png", "1.png", "2.png"], **{"metadata.csv": [header, *lines]}))
    assert "metadata.csv: 1 skin tones are left blank, such as '9' in line 4" in caplog.text


@pytest.mark.parametrize("beside", [(), ("README.txt", "data.zip", "__MACOSX/x.txt")])
def test_labels_in_a_folder_that_is_alone(tmp_path, beside):
    taxonomy = ['name = "mine"', "[fine.nv]", 'coarse = "m"', "[fine.mel]", 'coarse = "m"']
    fill(tmp_path, ["download/set/a.jpg", "download/set/images/b.jpg"], **{
        "download/set/labels.csv": ["filename,label,mask", "a.jpg,nv,masks/a.png", "b.jpg,mel,"],
        "download/set/taxonomy.toml": taxonomy, **{name: ["x"] for name in beside},
    })  # fmt: skip
    fill(tmp_path, ["download/set/masks/a.png"])
    dataset = readers.read(Data(path=str(tmp_path)))
    assert dataset.taxonomy.name == "mine"
    assert dataset.index[["path", "fine", "mask"]].to_numpy().tolist() == [
        ["download/set/a.jpg", "nv", "download/set/masks/a.png"],
        ["download/set/images/b.jpg", "mel", ""],
    ]


def test_labels_in_one_of_two_folders_are_not_taken(tmp_path):
    fill(
        tmp_path,
        ["a/1.jpg", "a/2.jpg", "b/3.jpg"],
        **{"a/labels.csv": ["filename,label", "1.jpg,nv", "2.jpg,mel"]},
    )
    with pytest.raises(UserError, match=r"a/labels.csv: it may have the labels, and so may other"):
        read(tmp_path)


def test_ham10000_in_a_folder_that_is_alone(tmp_path):
    rows = ["lesion_id,image_id,dx,age,sex,localization", "L1,i1,nv,50,male,back"]
    fill(tmp_path, ["archive/HAM10000_images_part_1/i1.jpg"],
         **{"archive/HAM10000_metadata.csv": rows})  # fmt: skip
    records = by_id(tmp_path)
    assert records.loc["i1", ["fine", "path"]].tolist() == [
        "nv", "archive/HAM10000_images_part_1/i1.jpg",
    ]  # fmt: skip


HAM = "lesion_id,image_id,dx,dx_type,age,sex,localization"
HAM_TEST = {
    "HAM10000_metadata.csv": [HAM, "L1,i1,nv,histo,50,male,back", "L2,i2,mel,histo,50,male,back"],
    "ISIC2018_Task3_Test_GroundTruth.csv": [f"{HAM},dataset", "L9,t1,mel,histo,60.0,f,back,x"],
    "ISIC2018_Task3_Test_GroundTruth.tab": [
        f"{HAM},dataset".replace(",", "\t"), "L9\tt1\tmel\thisto\t60\tf\tback\tx"],
}  # fmt: skip


def test_the_test_set_beside_ham10000_is_its_test_split(tmp_path, caplog):
    photos = ["HAM10000_images_part_1/i1.jpg", "HAM10000_images_part_2/i2.jpg",
              "ISIC2018_Task3_Test_Images/t1.jpg"]  # fmt: skip
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        records = by_id(fill(tmp_path, photos, **HAM_TEST))
    assert records["split"].to_dict() == {"i1": "train", "i2": "train", "t1": "test"}
    assert records.loc["t1", ["fine", "sex", "age", "lesion_id"]].tolist() == [
        "mel", "female", 60, "L9"]  # fmt: skip
    assert "Test_GroundTruth.csv: the test split, 1 rows" in caplog.text


def test_ham10000_without_the_test_photos_is_as_ever(tmp_path):
    photos = ["HAM10000_images_part_1/i1.jpg", "HAM10000_images_part_2/i2.jpg"]
    records = by_id(fill(tmp_path, photos, **HAM_TEST))
    assert records["split"].to_dict() == {"i1": "", "i2": ""}


def test_a_released_table_may_be_a_workbook(tmp_path):
    rows = [["image", "MEL", "NV", "BCC"], ["a", 0, 1, 0], ["b", 1.0, 0, 0]]
    fill(tmp_path, ["x/a.jpg", "x/b.jpg"])
    workbook(tmp_path / "truth.xlsx", {"Sheet1": rows, "Sheet2": []})
    assert by_id(tmp_path)["fine"].to_dict() == {"a": "nv", "b": "mel"}
