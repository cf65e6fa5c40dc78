"""Data sets as they were released: each is known by its columns, and read as it says."""

import io
import logging

import h5py
import numpy as np
import pytest
from folders import fill, read
from PIL import Image

from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import decode, layouts, readers, released_tables, splits


def jpeg():
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (120, 90, 80)).save(buffer, "JPEG")
    return buffer.getvalue()


RELEASED = {
    "isic_onehot": (  # ISIC 2019
        ["ISIC_2019_Training_Input/ISIC_1.jpg", "ISIC_2019_Training_Input/ISIC_2.jpg"],
        {
            "ISIC_2019_Training_GroundTruth.csv": [
                "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK",
                "ISIC_1,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
                "ISIC_2,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0",
            ],
            "ISIC_2019_Training_Metadata.csv": [
                "image,age_approx,anatom_site_general,lesion_id,sex",
                "ISIC_1,55.0,anterior torso,BCN_7,female", "ISIC_2,,,,",
            ],
        },
        {"fine": "nv", "lesion_id": "BCN_7", "age": 55.0, "site": "anterior torso"},
    ),
    "isic2020": (
        ["train/ISIC_1.jpg", "train/ISIC_2.jpg"],
        {"train.csv": [
            "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,"
            "benign_malignant,target",
            "ISIC_1,IP_1,male,45.0,head/neck,unknown,benign,0",
            "ISIC_2,IP_2,female,50.0,torso,melanoma,malignant,1",
        ]},
        {"fine": "benign", "patient_id": "IP_1", "sex": "male", "site": "head/neck"},
    ),
    "isic2024": (
        ["train-image/image/ISIC_1.jpg", "train-image/image/ISIC_2.jpg"],
        {"train-metadata.csv": [
            "isic_id,target,patient_id,age_approx,sex,anatom_site_general,tbp_lv_location",
            "ISIC_1,1,IP_1,60.0,male,torso,Torso Back", "ISIC_2,0,IP_2,60.0,male,torso,Torso",
        ]},
        {"fine": "malignant", "patient_id": "IP_1", "age": 60.0},
    ),
    "isic2024_challenge": (
        ["ISIC_2024_Training_Input/ISIC_1.jpg", "ISIC_2024_Training_Input/ISIC_2.jpg"],
        {
            "ISIC_2024_Training_GroundTruth.csv": ["isic_id,malignant", "ISIC_1,0.0", "ISIC_2,1.0"],
            "ISIC_2024_Training_Input/metadata.csv": [
                "isic_id,attribution,age_approx,sex,patient_id", "ISIC_1,X,60,male,IP_1",
                "ISIC_2,X,60,male,IP_2",
            ],
        },
        {"fine": "benign", "patient_id": "IP_1", "sex": "male", "age": 60.0},
    ),
    "isic_archive": (
        ["ISIC-images/ISIC_1.jpg", "ISIC-images/ISIC_2.jpg"],
        {"metadata.csv": [
            "isic_id,age_approx,diagnosis_1,diagnosis_2,diagnosis_3,lesion_id,image_type,"
            "fitzpatrick_skin_type",
            "ISIC_1,30,Malignant,Malignant melanocytic,Melanoma Invasive,IL_1,dermoscopic,II",
            "ISIC_2,30,Benign,Benign melanocytic,Nevus,IL_2,dermoscopic,",
        ]},
        {"fine": "Melanoma Invasive", "coarse": "Malignant", "lesion_id": "IL_1",
         "skin_tone": "II"},
    ),
    "bcn20000": (
        ["images/BCN_1.jpg", "images/BCN_2.jpg"],
        {"bcn_20k_train.csv": [
            "bcn_filename,age_approx,anatom_site_general,diagnosis,lesion_id,sex",
            "BCN_1.jpg,40,torso,NV,BCN_9,male", "BCN_2.jpg,40,torso,MEL,BCN_8,male",
        ]},
        {"fine": "nv", "lesion_id": "BCN_9"},
    ),
    "pad_ufes_20": (
        ["imgs_part_1/imgs_part_1/PAT_1_2_3.png", "imgs_part_2/imgs_part_2/PAT_4_5_6.png"],
        {"metadata.csv": [
            "patient_id,lesion_id,age,gender,region,diagnostic,fitspatrick,img_id,biopsed",
            "PAT_1,2,70,MALE,NOSE,BCC,2.0,PAT_1_2_3.png,True",
            "PAT_4,5,30,FEMALE,ARM,NEV,,PAT_4_5_6.png,False",
        ]},
        {"fine": "BCC", "patient_id": "PAT_1", "sex": "male", "site": "NOSE", "skin_tone": "II"},
    ),
    "derm7pt": (
        ["images/NAA/Naa1.jpg", "images/NAA/Naa2.jpg"],
        {"meta/meta.csv": [
            "case_num,diagnosis,seven_point_score,location,sex,clinic,derm",
            "1,clark nevus,2,abdomen,female,NAA/Naa1.jpg,NAA/Naa2.jpg",
        ]},
        {"fine": "clark nevus", "lesion_id": "1", "source": "clinic"},
    ),
    "ddi": (
        ["images/000001.png", "images/000002.png"],
        {"ddi_metadata.csv": [
            ",DDI_ID,DDI_file,skin_tone,malignant,disease",
            "0,1,000001.png,56,True,melanoma-in-situ", "1,2,000002.png,12,False,nevus",
        ]},
        {"fine": "malignant", "skin_tone": "V-VI"},
    ),
    "fitzpatrick17k": (
        [
            "images/5e82a45bc5d78bd24ae9202d194423f8.jpg",
            "images/fa2911a9b13b6f8af79cb700937cc14f.jpg",
        ],
        {"fitzpatrick17k.csv": [
            "md5hash,fitzpatrick_scale,label,nine_partition_label,three_partition_label",
            "5e82a45bc5d78bd24ae9202d194423f8,3,acne vulgaris,inflammatory,non-neoplastic",
            "fa2911a9b13b6f8af79cb700937cc14f,1,melanoma,malignant melanoma,malignant",
        ]},
        {"fine": "acne vulgaris", "coarse": "non-neoplastic", "skin_tone": "III"},
    ),
    "milk10k": (
        ["MILK10k_Training_Input/IL_1/ISIC_1.jpg", "MILK10k_Training_Input/IL_1/ISIC_2.jpg"],
        {
            "MILK10k_Training_Metadata.csv": [
                "lesion_id,image_type,isic_id,age_approx,sex,skin_tone_class,site",
                "IL_1,clinical: close-up,ISIC_1,50,male,5,trunk",
                "IL_1,dermoscopic,ISIC_2,50,male,5,trunk",
            ],
            "MILK10k_Training_GroundTruth.csv": [
                "lesion_id,AKIEC,BCC,BEN_OTH,BKL,DF,INF,MAL_OTH,MEL,NV,SCCKA,VASC",
                "IL_1,0,0,0,0,0,0,0,0,0,1,0",
            ],
        },
        {"fine": "sccka", "lesion_id": "IL_1", "source": "clinical: close-up",
         "skin_tone": "MILK10k 5"},
    ),
    "scin": (
        ["dataset/images/-1.png", "dataset/images/-2.png", "dataset/images/-3.png"],
        {
            "dataset/scin_cases.csv": [
                "case_id,source,sex_at_birth,body_parts_head_or_neck,body_parts_arm,image_1_path,"
                "image_2_path,image_3_path,image_1_shot_type,image_2_shot_type,image_3_shot_type",
                "-77,SCIN,FEMALE,,YES,dataset/images/-1.png,dataset/images/-2.png,,CLOSE_UP,"
                "AT_DISTANCE,",
                "-78,SCIN,OTHER_OR_UNSPECIFIED,YES,YES,dataset/images/-3.png,,,CLOSE_UP,,",
            ],
            "dataset/scin_labels.csv": [
                "case_id,dermatologist_fitzpatrick_skin_type_label_1,"
                "dermatologist_fitzpatrick_skin_type_label_2,weighted_skin_condition_label,"
                "monk_skin_tone_label_us",
                "-77,FST3,FST3,\"{'Eczema': 0.41, 'Psoriasis': 0.59}\",4",
                "-78,FST3,FST2,\"{'Eczema': 0.5, 'Psoriasis': 0.5}\",4",
            ],
        },
        {"fine": "Psoriasis", "lesion_id": "-77", "sex": "female", "site": "arm",
         "skin_tone": "III", "source": "CLOSE_UP"},
    ),
    "ph2": (
        [f"PH2 Dataset images/{case}/{case}_Dermoscopic_Image/{case}.bmp"
         for case in ("IMD003", "IMD058")],
        {"PH2_dataset.txt": [
            "||   Name   ||  Histological Diagnosis  ||  Clinical Diagnosis  ||   Asymmetry   |"
            "  Pigment Network  ||   Colors   ||",
            "|| IMD003 ||                        ||                  0 ||       0    |   T || 4 ||",
            "|| IMD058 || Melanoma in situ       ||                  2 ||       2    |  AT || 3 ||",
            "", "Legends:", "Histological Diagnosis", "Clinical Diagnosis: 0 - Common Nevus;",
        ]},
        {"fine": "common nevus"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_data_set_is_known_by_its_columns(tmp_path, name, caplog):
    photos, tables, first = RELEASED[name]
    fill(tmp_path, photos, **tables)
    assert released_tables.find(tmp_path).name == name
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        found = read(tmp_path)
    assert set(found.index) == set(photos)
    row = found.loc[photos[0]]
    assert {key: row[key] for key in first} == first
    assert f"read as the table of {name}" in caplog.text
    assert "dx_type" not in found


@pytest.mark.parametrize(("name", "taxonomy"), [
    ("isic2020", "malignancy"), ("isic2024", "malignancy"),
    ("isic2024_challenge", "malignancy"), ("ddi", "malignancy"),
    ("isic_onehot", "isic2019"), ("milk10k", "milk10k"), ("bcn20000", "isic2019"),
    ("pad_ufes_20", "pad_ufes_20"), ("derm7pt", "derm7pt"), ("ph2", "ph2"), ("scin", "flat"),
    ("isic_archive", "derived"), ("fitzpatrick17k", "derived"),
])  # fmt: skip
def test_classes_that_are_known_bring_their_malignancy(tmp_path, name, taxonomy):
    photos, tables, _ = RELEASED[name]
    classes = readers.read(Data(path=str(fill(tmp_path, photos, **tables)))).taxonomy
    assert classes.name == taxonomy
    assert all(classes.malignancy) == (taxonomy not in ("flat", "derived"))


def test_isic_2019_is_ham10000_with_squamous_cell_carcinoma():
    eight, seven = taxonomies.load("isic2019"), taxonomies.load("ham10000")
    of = {one.name: dict(zip(one.fine, zip(one.parents, one.malignancy))) for one in (eight, seven)}
    ham = of["ham10000"]
    ham["ak"] = ham.pop("akiec")
    assert of["isic2019"] == {**ham, "scc": ("keratinocytic", "malignant")}


def test_milk10k_is_ham10000_with_four_more():
    eleven, seven = taxonomies.load("milk10k"), taxonomies.load("ham10000")
    of = {
        one.name: dict(zip(one.fine, zip(one.parents, one.malignancy))) for one in (eleven, seven)
    }
    assert of["milk10k"] == {
        **of["ham10000"], "sccka": ("keratinocytic", "malignant"),
        "inf": ("inflammatory", "benign"),
        "ben_oth": ("other", "benign"), "mal_oth": ("other", "malignant"),
    }  # fmt: skip


@pytest.mark.parametrize(("name", "malignant", "premalignant", "n"), [
    ("pad_ufes_20", {"MEL", "BCC", "SCC"}, {"ACK"}, 6),
    ("ph2", {"melanoma"}, set(), 3),
    ("derm7pt", {"basal cell carcinoma", "melanoma", "melanoma (in situ)", "melanoma metastasis",
                 "melanoma (less than 0.76 mm)", "melanoma (0.76 to 1.5 mm)",
                 "melanoma (more than 1.5 mm)"}, set(), 20),
])  # fmt: skip
def test_malignancy_follows_medical_convention(name, malignant, premalignant, n):
    classes = taxonomies.load(name)
    kinds = {kind: {fine for fine, own in zip(classes.fine, classes.malignancy) if own == kind}
             for kind in taxonomies.MALIGNANCY}  # fmt: skip
    assert kinds["malignant"] == malignant
    assert kinds["premalignant"] == premalignant
    assert len(kinds["benign"]) == n - len(malignant) - len(premalignant)


def test_every_layout_has_a_folder_here():
    assert set(layouts.LAYOUTS) == set(RELEASED)


@pytest.mark.parametrize("name", ["HAM10000_metadata.tab", "HAM10000_metadata", "a_metadata.csv"])
def test_ham10000_as_it_is_given(tmp_path, name):
    sep = "," if name.endswith(".csv") else "\t"
    rows = [
        ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"],
        ["HAM_1", "ISIC_1", "nv", "histo", "50", "male", "back"],
        ["HAM_2", "ISIC_2", "mel", "histo", "60", "male", "back"],
    ]
    folders = ["HAM10000_images_part_1/ISIC_1.jpg", "HAM10000_images_part_2/ISIC_2.jpg"]
    found = read(fill(tmp_path, folders, **{name: [sep.join(row) for row in rows]}))
    assert found["fine"].to_dict() == dict(zip(folders, ("nv", "mel")))


NAMES = [f"part_{k % 2}/m{k}.jpg" for k in range(4)]


@pytest.mark.parametrize("ending", ["csv", "tsv", "tab", "txt"])
@pytest.mark.parametrize("write", ["m{k}.jpg", "m{k}", "part_{odd}/m{k}.jpg"])
def test_labels_under_any_tables_name_find_photos_anywhere_below(tmp_path, ending, write):
    sep = "," if ending == "csv" else "\t"
    rows = [f"{write.format(k=k, odd=k % 2)}{sep}nv" for k in range(4)]
    fill(tmp_path, NAMES, **{f"labels.{ending}": [f"filename{sep}label", *rows]})
    assert set(read(tmp_path).index) == set(NAMES)


def test_a_name_that_may_be_two_photos_is_refused(tmp_path):
    fill(tmp_path, ["a/1.jpg"], **{"labels.csv": ["filename,label", "1.jpg,nv"]})
    fill(tmp_path, **{"b/1.jpg": ["another photo"]})
    message = r"'1.jpg' may be a/1.jpg or b/1.jpg, which differ; write the whole path, or keep"
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_a_table_that_names_the_photos_and_is_not_known_is_refused(tmp_path):
    rows = ["photo_name,finding", *(f"m{k},nv" for k in range(4))]
    fill(tmp_path, NAMES, **{"truth.csv": rows})
    with pytest.raises(UserError, match=r"truth.csv: its column 'photo_name' names the photos"):
        read(tmp_path)
    assert set(read(tmp_path, format="unlabelled")["fine"]) == {""}


@pytest.mark.parametrize("name", ["labels.xls", "deep/labels.ods"])
def test_a_spreadsheet_of_another_kind_is_refused(tmp_path, name):
    fill(tmp_path, NAMES, **{name: ["PK"]})
    with pytest.raises(UserError, match=r"only .xlsx is read; save the sheet as labels\.csv, or"):
        read(tmp_path)


def test_what_is_packed_is_refused(tmp_path):
    fill(tmp_path, **{"images.zip": ["PK"]})
    with pytest.raises(UserError, match=r"images.zip is packed; unpack it first"):
        read(tmp_path)


def test_a_table_whose_photos_are_packed_names_the_file(tmp_path):
    table, way = RELEASED["isic2024"][1], r"inside/x\.zip is packed; unpack it first"
    with pytest.raises(UserError, match=f"train-metadata.csv.*2 of 2 images are missing.*{way}"):
        read(fill(tmp_path, **table, **{"inside/x.zip": ["x"]}))


def test_isic2024_as_released_has_its_photos_in_hdf5(tmp_path):
    _, tables, expected = RELEASED["isic2024"]
    fill(tmp_path, **tables)
    with h5py.File(tmp_path / "train-image.hdf5", "w") as file:
        for name in ("ISIC_1", "ISIC_2"):
            file[name] = np.void(jpeg())  # as there: opaque, of the JPEG's size
    found = readers.read(Data(path=str(tmp_path)))
    assert found.index["path"].tolist() == ["train-image.hdf5/ISIC_1", "train-image.hdf5/ISIC_2"]
    first = found.index.iloc[0]
    assert {name: first[name] for name in expected} == expected
    assert found.taxonomy.name == "malignancy"
    assert decode.decode(found.files[0]).shape == (16, 16, 3)


def test_dermamnist_brings_classes_and_splits(tmp_path, caplog):
    arrays = {}
    for split, n in (("train", 7), ("val", 2), ("test", 3)):
        arrays[f"{split}_images"] = np.full((n, 28, 28, 3), 90, np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n, dtype=np.uint8) % 7)[:, None]
    np.savez_compressed(tmp_path / "dermamnist.npz", **arrays)
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        dataset = readers.read(Data(path=str(tmp_path)))
    assert caplog.messages == [
        f"{tmp_path}/dermamnist.npz: read as DermaMNIST, which has no lesion ids; its official "
        "split has photos of one lesion in several splits, so its scores are too high"
    ]
    found = dataset.index.set_index("path")
    assert found.loc["dermamnist.npz/train/00004", ["fine", "split"]].tolist() == ["mel", "train"]
    assert found["split"].value_counts().to_dict() == {"train": 7, "test": 3, "val": 2}
    train = found[found["split"] == "train"]
    assert train["fine"].tolist() == ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    assert set(found["lesion_id"]) == {""}
    assert dataset.taxonomy == taxonomies.load("ham10000")


@pytest.mark.parametrize("part", ["imgs_part_2", "HAM10000_images_part_1", "ISIC-images", "part3"])
def test_parts_of_an_archive_are_no_diagnoses(tmp_path, part):
    fill(tmp_path, ["mel/1.jpg", "nv/2.jpg", f"{part}/3.jpg"])
    with pytest.raises(UserError, match=f"folder {part} looks like a part of an archive"):
        read(tmp_path)


def test_parts_alone_are_photos_without_labels(tmp_path):
    fill(tmp_path, ["imgs_part_1/1.jpg", "imgs_part_2/2.jpg"])
    assert read(tmp_path)["fine"].tolist() == ["", ""]


@pytest.mark.parametrize("wrapper", ["ISIC-images", "download/unpacked", "benign"])
def test_folders_that_are_alone_are_no_diagnosis(tmp_path, wrapper):
    fill(tmp_path, [f"{wrapper}/1.jpg", f"{wrapper}/2.jpg"])
    assert read(tmp_path)["fine"].tolist() == ["", ""]
    fill(tmp_path / "tree", [f"{wrapper}/mel/1.jpg", f"{wrapper}/nv/2.jpg"])
    assert read(tmp_path / "tree")["fine"].tolist() == ["mel", "nv"]


def test_folders_that_say_no_label_have_none(tmp_path, caplog):
    fill(tmp_path, ["mel/1.jpg", "nv/2.jpg", "Unlabeled/3.jpg", "unsorted/4.jpg"])
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        found = read(tmp_path)
    assert found["fine"].to_dict() == {
        "mel/1.jpg": "mel", "nv/2.jpg": "nv", "Unlabeled/3.jpg": "", "unsorted/4.jpg": "",
    }  # fmt: skip
    assert "2 photos in Unlabeled, unsorted are taken as without a label" in caplog.text


def test_validation_is_dealt_out_of_train_where_there_is_none(tmp_path, caplog):
    photos = [f"{split}/{name}/{k}.jpg" for split, n in (("train", 10), ("test", 4))
              for name in ("mel", "nv") for k in range(n)]  # fmt: skip
    dataset = readers.read(Data(path=str(fill(tmp_path, photos))))
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        found = splits.assign(dataset, validation=0.2).index
    counts = found.groupby(["split", "fine"]).size().to_dict()
    expected = {("test", 4), ("train", 8), ("validation", 2)}
    assert counts == {(split, name): n for split, n in expected for name in ("mel", "nv")}
    assert set(found[found["path"].str.startswith("test")]["split"]) == {"test"}
    assert "4 of its 20 training photos serve as validation" in caplog.text
    without = splits.assign(dataset, validation=0.0).index
    assert set(without["split"]) == {"train", "test"}


IDS = {
    "patients": [f"P{k:03d}/a.jpg" for k in range(12)],
    "lesions": [f"set/IMD{k:03d}/{view}.jpg" for k in (1, 2) for view in ("a", "b")],
    "splits": [f"{split}/PAT_{k}_{k + 7}/a.jpg" for split in ("train", "test") for k in range(9)],
    "one odd": [*(f"{k}/a.jpg" for k in range(95, 115)), "other/a.jpg"],
    "many photos": [f"P{k}/{n}.jpg" for k in range(41) for n in range(6)],
}


@pytest.mark.parametrize("case", IDS)
def test_folders_that_are_a_patient_or_a_lesion_each_are_no_classes(tmp_path, case):
    fill(tmp_path, IDS[case])
    with pytest.raises(UserError, match=r"folders are like .*patients or lesions, not diagnoses"):
        read(tmp_path)
    assert set(read(tmp_path, format="unlabelled")["fine"]) == {""}


@pytest.mark.parametrize(
    "names", [["0", "1"], ["class1", "class2"], ["mel", "nv12"], ["bcc", "mel", "nv"]]
)
def test_few_folders_with_a_digit_may_be_classes(tmp_path, names):
    fill(tmp_path, [f"{name}/{name}_{k}.jpg" for name in names for k in range(2)])
    assert sorted(set(read(tmp_path)["fine"])) == names


def test_numbered_folders_with_many_photos_may_be_classes(tmp_path):
    names = [f"{k:02d}" for k in range(12)]
    fill(tmp_path, [f"{name}/{k}.jpg" for name in names for k in range(6)])
    assert sorted(set(read(tmp_path)["fine"])) == names


def test_two_marks_in_a_row_are_refused(tmp_path):
    table = ["image,MEL,NV,BCC", "a,1,1,0"]
    fill(tmp_path, ["a.jpg"], **{"truth.csv": table})
    with pytest.raises(UserError, match=r"truth.csv: line 2: two classes are marked; mark one"):
        read(tmp_path)


def test_a_code_that_ph2_does_not_have_is_refused(tmp_path):
    photos, tables, _ = RELEASED["ph2"]
    (lines,) = tables.values()
    fill(tmp_path, photos, **{"PH2_dataset.txt": [lines[0], "|| IMD003 ||  || 7 || 0 || 4 ||"]})
    with pytest.raises(UserError, match=r"PH2_dataset.txt: line 2: clinical diagnosis '7'; PH2"):
        read(tmp_path)
