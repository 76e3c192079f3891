using System.Buffers.Binary;
using System.Text;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Tests.Tokenizers;

/// <summary>Valid tokenizers of a few hundred bytes; between them they use every part that is implemented.</summary>
internal static class SmallTokenizers
{
    private const string ByteVocabulary = """{"a":0,"b":1,"ab":2,"Ġ":3,"Ġa":4,"c":5,"Ã":6,"©":7}""";

    public static IReadOnlyList<string> All { get; } =
    [
        // GPT-2's kind.
        $$$"""
        {"version":"1.0","added_tokens":[{"id":9,"content":"<|end|>","special":true,"normalized":false,"lstrip":true,"rstrip":true,
         "single_word":false}],"normalizer":{"type":"NFC"},
         "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true,"use_regex":true},
         "model":{"type":"BPE","vocab":{{{ByteVocabulary}}},"merges":["a b","Ġ a"]},
         "post_processor":{"type":"ByteLevel","trim_offsets":false},"decoder":{"type":"ByteLevel"}}
        """,
        // Qwen's kind.
        $$$"""
        {"normalizer":{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"NFKC"},
         {"type":"Strip","strip_left":true,"strip_right":false}]},
         "pre_tokenizer":{"type":"Sequence",
         "pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+"},
         "behavior":"Isolated","invert":false},
         {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},"model":{"vocab":{{{ByteVocabulary}}},"merges":[["a","b"]],
         "ignore_merges":true},"decoder":{"type":"ByteLevel"}}
        """,
        // Llama's kind.
        """
        {"added_tokens":[{"id":0,"content":"<unk>","special":true},{"id":1,"content":"<s>","special":true}],
         "normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
         {"type":"Replace","pattern":{"String":" "},"content":"▁"},{"type":"Replace","pattern":{"Regex":"[xy]{2,}"},"content":"z"}]},
         "model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,
         "vocab":{"<unk>":0,"<s>":1,"▁":2,"a":3,"▁a":4,"<0xC3>":5,"<0xA9>":6,"b":7},"merges":["▁ a"]},
         "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
         {"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}},
         "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},
         {"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}}
        """,
        // T5's kind.
        $$$"""
        {"normalizer":{"type":"Sequence","normalizers":[{"type":"Precompiled","precompiled_charsmap":"{{{CharactersMap()}}}"},
         {"type":"Nmt"}]},
         "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},
         {"type":"Metaspace","replacement":"▁","add_prefix_space":true}]},
         "model":{"type":"Unigram","unk_id":0,"byte_fallback":false,"vocab":[["<unk>",0],["▁",-2],["a",-3.5],["▁a",-4],["ab",-5],["b",-6]]},
         "decoder":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}}
        """,
        """
        {"normalizer":{"type":"NFKD"},"pre_tokenizer":{"type":"Metaspace","prepend_scheme":"first"},
         "model":{"unk_id":0,"byte_fallback":true,"vocab":[["<unk>",0],["a",-1e3],["<0xC3>",-3],["<0xA9>",-3]]},
         "decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Replace","pattern":{"Regex":"^a"},"content":"A"}]}}
        """,
        // BERT's kind.
        """
        {"added_tokens":[{"id":1,"content":"[MASK]","special":true,"single_word":true,"normalized":true}],
         "normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},
         "pre_tokenizer":{"type":"BertPreTokenizer"},"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
         "max_input_chars_per_word":20,"vocab":{"[UNK]":0,"[MASK]":1,"he":2,"##llo":3,"a":4,"##b":5}},
         "post_processor":{"type":"BertProcessing","sep":["a",4],"cls":["he",2]},"decoder":{"type":"WordPiece","prefix":"##",
         "cleanup":true}}
        """,
        // Words as tokens.
        """
        {"normalizer":{"type":"Sequence","normalizers":[{"type":"Lowercase"},{"type":"StripAccents"}]},
         "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Whitespace"},{"type":"Digits","individual_digits":true},
         {"type":"Punctuation","behavior":"Contiguous"}]},
         "model":{"type":"WordLevel","unk_token":"?","vocab":{"?":0,"hello":1,"world":2}},
         "post_processor":{"type":"Sequence","processors":[{"type":"RobertaProcessing","sep":["hello",1],"cls":["?",0],"trim_offsets":true,
         "add_prefix_space":false}]}}
        """,
        // The original byte pair encoding, with a mark at the end of words.
        """
        {"pre_tokenizer":{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":true},
         "model":{"type":"BPE","dropout":null,"continuing_subword_prefix":"#","end_of_word_suffix":"</w>",
         "vocab":{"a":0,"#b":1,"ab":2,"#a</w>":3,"aba</w>":4,"a</w>":5},"merges":["a #b","ab #a</w>"]},
         "decoder":{"type":"BPEDecoder","suffix":"</w>"}}
        """,
        """
        {"normalizer":{"type":"ByteLevel"},"pre_tokenizer":{"type":"Split","pattern":{"Regex":"[^(\\s|[.,!?])]+"},
         "behavior":"MergedWithNext"},"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}}
        """,
    ];

    public static Tokenizer Load(string json) => Load(Encoding.UTF8.GetBytes(json));

    public static Tokenizer Load(byte[] json)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder.File("tokenizer.json"), json);
        return Tokenizer.Load(folder.Root);
    }

    /// <summary>A trie with one rule, from "A" to "a".</summary>
    public static string CharactersMap(string replacement = "a\0")
    {
        var units = new uint[0x43];
        units[0] = 1 << 10; // children are at 1 xor their byte
        units[0x40] = 'A' | 1 << 8 | 2 << 10; // a rule ends here: its place is at 0x40 xor 2
        units[0x42] = 0x80000000;
        var bytes = new byte[4 + 4 * units.Length + replacement.Length];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, 4 * units.Length);
        for (var i = 0; i < units.Length; i++) BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4 + 4 * i), units[i]);
        Encoding.ASCII.GetBytes(replacement, bytes.AsSpan(4 + 4 * units.Length));
        return Convert.ToBase64String(bytes);
    }
}
