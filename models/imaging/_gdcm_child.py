"""Run as a program, never imported: one JPEG stream in, its samples out, through GDCM.

A damaged stream can end the process that GDCM runs in, so it runs in one of its own.
Arguments: syntax, photometric interpretation, width, height, samples, bits allocated, bits stored,
sign (0 or 1). Standard input: the stream. Standard output: samples, colour by pixel.
"""

import sys

import gdcm

if __name__ == "__main__":
    syntax, photometric = sys.argv[1:3]
    width, height, samples, allocated, stored, signed = map(int, sys.argv[3:])
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(sys.stdin.buffer.read())
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((width, height, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if samples > 1:
        image.SetPlanarConfiguration(0)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(samples, allocated, stored, stored - 1, signed))
    # A char* comes as text; surrogates stand for the bytes that are no UTF-8.
    sys.stdout.buffer.write(image.GetBuffer().encode("utf-8", "surrogateescape"))
