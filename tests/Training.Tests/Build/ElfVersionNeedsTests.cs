namespace FedRLora.Training.Tests.Build;

public sealed class ElfVersionNeedsTests
{
    private const string Tag = "GLIBCXX_3.4.32";

    [Fact]
    public void A_requirement_is_marked_weak_once_and_by_one_byte()
    {
        var original = LibraryWithStrongTag();
        var weakened = original.ToArray();

        Assert.True(ElfVersionNeeds.Weaken(weakened, Tag));

        Assert.Equal(1, original.Zip(weakened).Count(static pair => pair.First != pair.Second));
        Assert.False(ElfVersionNeeds.Weaken(weakened, Tag));
    }

    [Fact]
    public void A_library_that_does_not_ask_for_the_tag_is_left_alone()
    {
        var image = LibraryWithStrongTag();
        Assert.False(ElfVersionNeeds.Weaken(image, "GLIBCXX_9.9.99"));
        Assert.Equal(LibraryWithStrongTag(), image);
    }

    [Fact]
    public void What_is_not_a_64_bit_elf_file_is_refused() =>
        Assert.Throws<InvalidDataException>(() => ElfVersionNeeds.Weaken(new byte[100], Tag));

    // An ELF header, two section headers (.dynstr-like names and .gnu.version_r) and one requirement.
    private static byte[] LibraryWithStrongTag()
    {
        const int Sections = 64, SectionSize = 64, Names = Sections + 2 * SectionSize, Needs = Names + 32;
        var image = new byte[Needs + 32];
        void Put(int offset, params ReadOnlySpan<byte> bytes) => bytes.CopyTo(image.AsSpan(offset));
        Put(0, 0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1);
        Put(0x28, Sections);                                       // e_shoff
        Put(0x3a, SectionSize, 0, 2);                              // e_shentsize, e_shnum
        Put(Sections + 4, 3);                                      // SHT_STRTAB
        Put(Sections + 0x18, Names);
        Put(Sections + SectionSize + 4, 0xfe, 0xff, 0xff, 0x6f);   // SHT_GNU_verneed
        Put(Sections + SectionSize + 0x18, Needs);                 // its link, 0, is the string table
        Put(Names + 1, "GLIBCXX_3.4.32"u8);
        Put(Needs, 1, 0, 1, 0);                                    // vn_version, vn_cnt
        Put(Needs + 8, 16);                                        // vn_aux; vn_next is 0
        Put(Needs + 16 + 8, 1);                                    // vna_name; vna_flags is 0
        return image;
    }
}
